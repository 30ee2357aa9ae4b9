"""Ends a training in order: after a signal, on a full disk, out of memory."""

import errno
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from traceback import walk_tb
from typing import Any

import torch
from torch import distributed

from refstar.utils.checkpoint import WriteError
from refstar.utils.errors import RefStarError

from .resume import saved_states
from .validation import cpu_group

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
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


def how_to_resume(opt: dict[str, Any]) -> str:
    """Returns a sentence: what is saved and what to type."""
    saved = saved_states(opt) if opt else {}
    if not saved:
        return 'Nothing was saved yet.'
    command = ' '.join(sys.argv) + ('' if '--auto_resume' in sys.argv else ' --auto_resume')
    return f'Iteration {max(saved)} is saved; resume with: {command}'


def explanation(error: BaseException) -> str | None:
    """Returns what a full disk or full memory means for a user; None for other errors."""
    if isinstance(error, WriteError) or (isinstance(error, OSError) and error.errno in FULL):
        return f'{error}. Is the disk full?'
    on_gpu = isinstance(error, torch.OutOfMemoryError)
    on_cpu = isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY)
    if on_gpu or on_cpu or isinstance(error, MemoryError):
        return (
            f'out of {"GPU memory" if on_gpu else "memory"}. Lower datasets:train:batch_size_per_gpu (train:accumulate '
            'makes up for it), or set train:amp: bf16.'
        )
    return None


@contextmanager
def ends_in_order(opt: dict[str, Any]) -> Iterator[None]:
    """While open, signals wait for the end of an iteration, and errors that a user can act on become one line.

    Raises:
        RefStarError: full disk, out of memory, a pickle that would run code.
    """
    shown, logging.raiseExceptions = logging.raiseExceptions, False  # a full disk: no traceback for every line of a log
    try:
        with signals_wait(), refused_pickles():
            yield
    except (OSError, MemoryError, RuntimeError, WriteError) as error:
        message = explanation(error)
        if message is None:
            raise
        raise RefStarError(f'{message} {how_to_resume(opt)}') from error
    finally:
        logging.raiseExceptions = shown


@contextmanager
def refused_pickles() -> Iterator[None]:
    """While open, a file with more than tensors and plain values, given to `torch.load` by BasicSR, GFPGAN or facexlib,
    is an error in one line.

    Raises:
        RefStarError: names the file.
    """
    try:
        yield
    except UnpicklingError as error:
        frames = [frame.f_locals for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == 'load']
        file = next((names['f'] for names in frames if names.get('f') is not None), 'a file')
        raise RefStarError(
            f'{getattr(file, "name", file)}: holds Python objects besides tensors and plain values, or is broken; '
            'nothing of it was run'
        ) from error
