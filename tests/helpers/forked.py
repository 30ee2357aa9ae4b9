"""Runs of the commands in processes forked from the test, so that libraries are imported once."""

import contextlib
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch


def start(folder: Path, call: Callable[[], int | None], log: str = 'log.txt', **environment: object) -> int:
    """Calls something in a new process, as if it had just been started by a user in a folder.

    Args:
        folder: the current folder of the new process.
        call: what it does; returns its exit code, None for 0.
        log: file in that folder that what is printed is added to.
        environment: variables.

    Returns:
        Id of the process, which leads a group of its own.
    """
    (folder / log).touch()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        os.environ.update({name: str(value) for name, value in environment.items()})
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1), os.dup2(file, 2)
        sys.stdout, sys.stderr = (os.fdopen(stream, 'w', buffering=1) for stream in (1, 2))
        from basicsr.utils import logger

        logging.getLogger('basicsr').handlers.clear()  # of tests that ran in this process before
        logger.initialized_logger.clear()
        torch.multiprocessing.set_start_method('fork', force=True)
        code = call() or 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):  # of a full disk
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """Waits for a process; returns its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(('127.0.0.1', 0))
        return listening.getsockname()[1]


def ranks(count: int, folder: Path, call: Callable[[], int | None], code: int = 0) -> list[str]:
    """Calls something in so many processes as torchrun would start them on one node; all must end with this code.

    Returns:
        What each of them printed.
    """
    place = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port(), 'WORLD_SIZE': count}
    return together(folder, call, [{**place, 'RANK': rank, 'LOCAL_RANK': rank} for rank in range(count)], code)


def together(
    folder: Path, call: Callable[[], int | None], environments: list[dict[str, object]], code: int = 0
) -> list[str]:
    """Calls something in a process for each of these environments at a time; all must end with this code."""
    count = len(environments)
    logs = [f'rank{rank}.txt' for rank in range(count)]
    for log in logs:
        (folder / log).unlink(missing_ok=True)
    children = [start(folder, call, log, **more) for log, more in zip(logs, environments, strict=True)]
    codes = [ended(child) for child in children]
    texts = [(folder / log).read_text() for log in logs]
    assert codes == [code] * count, '\n'.join(text[-3000:] for text in texts)
    return texts
