"""What ends a training early ends it in order: signals, a full disk, too little memory, losses that are not finite."""

import errno
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from torch import distributed

from refstar.utils.checkpoint import WriteError
from refstar.utils.errors import RefStarError

from . import resume
from .distributed import cpu_group
from .safe_load import refusing

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_MEMORY = ("can't allocate memory", 'not enough memory', 'out of memory')  # what torch says on the CPU

_received = 0  # number of the signal that asked this process to stop


@contextmanager
def _signals_to(receive: Callable[[int, Any], None]) -> Iterator[None]:
    """While open, SIGINT and SIGTERM call a function."""
    global _received
    _received = 0
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = [signal.signal(number, receive) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _wait(number: int, frame: Any) -> None:
    """A signal waits for the end of an iteration; a second Ctrl-C does not."""
    global _received
    if _received and number == signal.SIGINT and not distributed.is_initialized():  # torchrun sends several
        raise KeyboardInterrupt
    _received = number
    print(f'{signal.Signals(number).name}: saving after this iteration.', file=sys.stderr, flush=True)


def _end(number: int, frame: Any) -> None:
    """A signal ends the process at once."""
    raise SystemExit(128 + number)


def _asked_to_stop() -> int:
    """The signal that any process has received, the same answer in all of them; 0 if none."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return _received
    flag = torch.tensor(_received)
    distributed.all_reduce(flag, distributed.ReduceOp.MAX, group=cpu_group())
    return int(flag)


def stop_if_asked(model: BaseModel, done: int) -> None:
    """Between two iterations: saves and ends the process if a signal has arrived.

    Args:
        model: to save.
        done: number of the last complete iteration.

    Raises:
        SystemExit: code 128 + number of the signal.
    """
    number = _asked_to_stop()
    if not number:
        return
    if done > resume.start_iter():
        model.save(resume.epoch_of(done), done)
    if model.opt['rank'] == 0:
        name = signal.Signals(number).name
        print(f'Stopped by {name} after iteration {done}. {how_to_resume(model.opt)}', file=sys.stderr, flush=True)
    raise SystemExit(128 + number)


def how_to_resume(opt: dict[str, Any] | None) -> str:
    """One sentence: what is saved and what to type."""
    saved = resume.saved_states(opt) if opt else {}
    if not saved:
        return 'Nothing was saved yet.'
    command = ' '.join(sys.argv) + ('' if '--auto_resume' in sys.argv else ' --auto_resume')
    return f'Iteration {max(saved)} is saved; go on with: {command}'


def _plain(error: BaseException) -> str | None:
    """What a full disk, full memory or an unfit memory format has to say to a user; None for other errors."""
    if 'view size is not compatible' in str(error) and resume.options().get('train', {}).get('channels_last'):
        return 'train:channels_last: the code of a network is not made for it (GFPGAN); list the others, e.g. [d].'
    if isinstance(error, WriteError) or (isinstance(error, OSError) and error.errno in FULL):
        return f'{error}. Is the disk full?'
    if isinstance(error, OSError) and 'writing images' in str(error):  # BasicSR's, of a picture
        return 'a picture could not be written. Is the disk full?'
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY)
    ):
        where = 'GPU memory' if isinstance(error, torch.OutOfMemoryError) else 'memory'
        return (
            f'out of {where}. Lower datasets:train:batch_size_per_gpu (train:accumulate makes up for it), or set '
            'train:amp: bf16.'
        )
    return None


@contextmanager
def one_message() -> Iterator[None]:
    """While open, a full disk prints no traceback for every line of the log, and none from TensorBoard's thread: its
    error is raised again by the next write."""
    logs_matter, threads_matter = logging.raiseExceptions, threading.excepthook

    def failed(thread: Any) -> None:
        if not (isinstance(thread.exc_value, OSError) and thread.exc_value.errno in FULL):
            threads_matter(thread)

    logging.raiseExceptions, threading.excepthook = False, failed
    try:
        yield
    finally:
        logging.raiseExceptions, threading.excepthook = logs_matter, threads_matter


def guarded(train_pipeline: Callable[[str], None], saves: bool = True) -> Callable[[str], None]:
    """BasicSR's function of that name, ended in order.

    Args:
        train_pipeline: takes the root path.
        saves: whether it looks for signals after every iteration, to save; if not, a signal ends it at once.

    Raises:
        RefStarError: full disk, out of memory.
        SystemExit: a signal; code 128 + its number.
    """

    @wraps(train_pipeline)
    def run(root_path: str) -> None:
        try:
            with _signals_to(_wait if saves else _end), one_message():
                refusing(train_pipeline)(root_path)
        except (OSError, MemoryError, RuntimeError, WriteError) as error:
            message = _plain(error)
            if message is None:
                raise
            raise RefStarError(f'{message} {how_to_resume(resume.options())}') from error

    return run
