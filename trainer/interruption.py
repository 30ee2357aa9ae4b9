"""Ends a training in order: after a signal, on a full disk, out of memory."""

import errno
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from traceback import walk_tb
from typing import Any
from urllib.error import URLError

import torch
from torch import distributed
from torch.utils.data import Dataset

from refstar.utils.checkpoint import WriteError, what_instead
from refstar.utils.errors import RefStarError

from .resume import saved_states
from .validation import cpu_group

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PARTS = {  # functions of BasicSR -> their variable with the name of what they build or call
    'build_network': 'network_type',
    'build_loss': 'loss_type',
    'get_optimizer': 'optim_type',
    'setup_schedulers': 'scheduler_type',
    'calculate_metric': 'metric_type',
}
NO_MEMORY = ("can't allocate memory", 'not enough memory', 'out of memory')  # torch's words on the CPU

_received = 0  # number of the signal that asked this process to stop


@contextmanager
def signals_wait() -> Iterator[None]:
    """While open, SIGINT and SIGTERM wait for the end of an iteration; only the main thread may set handlers."""
    global _received
    _received = 0
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, _wait) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _wait(number: int, frame: Any) -> None:
    """Handles a signal: stops after this iteration; a second Ctrl-C stops at once."""
    global _received
    if _received and number == signal.SIGINT and not distributed.is_initialized():  # torchrun sends several
        raise KeyboardInterrupt
    _received = number
    print(f'{signal.Signals(number).name}: saving after this iteration.', file=sys.stderr, flush=True)


def stop_requested() -> int:
    """Returns the signal that any process has received, the same in all of them; 0 if none."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return _received
    flag = torch.tensor(_received)
    distributed.all_reduce(flag, distributed.ReduceOp.MAX, group=cpu_group())
    return int(flag)


def how_to_resume(run: Any) -> str:
    """Returns a sentence: what is saved and what to type."""
    saved = saved_states(run.opt) if run else {}
    if not saved:
        return 'Nothing was saved yet.'
    command = ' '.join(sys.argv) + ('' if '--auto_resume' in sys.argv else ' --auto_resume')
    return f'Iteration {max(saved)} is saved; resume with: {command}'


def explanation(error: BaseException) -> str | None:
    """Returns what an error means for a user: a full disk, full memory, a pickle with code; None for other errors."""
    if isinstance(error, WriteError) or (isinstance(error, OSError) and error.errno in FULL):
        return f'{error}. Is the disk full?'
    on_gpu = isinstance(error, torch.OutOfMemoryError)
    on_cpu = isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY)
    if on_gpu or on_cpu or isinstance(error, MemoryError):
        return (
            f'out of {"GPU memory" if on_gpu else "memory"}. Lower datasets:train:batch_size_per_gpu, or set '
            'train:amp: bf16.'
        )
    if isinstance(error, UnpicklingError):  # BasicSR, GFPGAN and facexlib call torch.load themselves
        file = next((names['f'] for name, names, _ in _frames(error) if name == 'load' and 'f' in names), 'a file')
        path = getattr(file, 'name', file)
        instead = what_instead(path) if Path(path).is_file() else ''
        code = 'holds Python objects besides tensors and plain values, or is broken; nothing of it was run'
        return f'{path}: {instead or code}'
    return None


def _frames(error: BaseException) -> list[tuple[str, dict[str, Any], str]]:
    """Returns name, variables and place of the functions that an error went through, the innermost first."""
    frames = [(frame.f_code, frame.f_locals, line) for frame, line in walk_tb(error.__traceback__)]
    return [(code.co_name, names, f'{Path(code.co_filename).name}:{line}') for code, names, line in reversed(frames)]


def _part(function: str, names: dict[str, Any]) -> str:
    """Returns what a function builds or reads, e.g. 'network RRDBNet: '; '' for other functions."""
    if function in PARTS and names.get(PARTS[function]):
        return f'{PARTS[function].removesuffix("_type")} {names[PARTS[function]]}: '
    if function in ('__init__', '__getitem__') and isinstance(names.get('self'), Dataset):
        return f'data set {type(names["self"]).__name__}: '
    return ''


def wrong_option(error: BaseException) -> str:
    """Words an error that came before the first step was done, e.g. from the constructor of a network, in one line."""
    frames, text = _frames(error), str(error)
    part = next(filter(None, (_part(name, names) for name, names, _ in frames)), '')
    if text.startswith('Caught '):  # in a loader process
        part, text = 'datasets:train: ', text.strip().rpartition('\n')[2]
    elif isinstance(error, KeyError):
        text = f'the key {error} is missing'
    else:
        text = ': '.join([type(error).__name__, *text.strip().splitlines()[:1]])
    return f'{part}{text} ({frames[0][2]}; --debug shows more)'


class Ending:
    """What :func:`ends_in_order` knows of a run: None before its options are read."""

    run: Any = None


@contextmanager
def ends_in_order() -> Iterator[Ending]:
    """While open, signals wait for the end of an iteration, and errors that a user can act on become one line.

    Until the folder of the run is open that is every error, but not with `--debug`: its cause is the option file.

    Raises:
        RefStarError: names the cause.
    """
    ending = Ending()
    shown, logging.raiseExceptions = logging.raiseExceptions, False  # a full disk: no traceback for every line of a log
    try:
        with signals_wait():
            yield ending
    except Exception as error:
        run, message = ending.run, explanation(error)
        is_known = isinstance(error, RefStarError | FileNotFoundError | URLError)
        if message is not None and not isinstance(error, UnpicklingError):
            message += f' {how_to_resume(run)}'
        elif not (is_known or run is None or run.is_open or 'debug' in run.opt['name']):
            message = message or wrong_option(error)
        if message is None:
            raise
        raise RefStarError(message) from error
    finally:
        logging.raiseExceptions = shown
