"""Work on many files by several processes, with a progress bar."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

from .errors import RefStarError

WINDOW = 512  # items in flight for each process: results of a slow consumer must not pile up


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def end_with_parent() -> None:
    """Let this process end within a second after the one that started it was killed (an initializer of pools)."""
    threading.Thread(target=_watch, args=[os.getppid()], daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def parallel(function: Callable, items: Sequence, jobs: int, title: str) -> Iterator[Any]:
    """Call `function(item)` for every item in worker processes; yield the results in order.

    Args:
        function: at the top level of a module, so that other processes find it.
        items: what it is called with.
        jobs: number of worker processes. This process survives if one dies: a damaged lmdb can end a process.
        title: of the progress bar, which shows only in a terminal.

    Raises:
        RefStarError: a process died.
    """
    with (
        ProcessPoolExecutor(jobs, initializer=end_with_parent) as pool,
        tqdm(total=len(items), desc=title, unit='image', disable=None) as bar,
    ):
        try:
            for start in range(0, len(items), WINDOW * jobs):
                for result in pool.map(function, items[start : start + WINDOW * jobs], chunksize=8):
                    bar.update()
                    yield result
        except BrokenProcessPool:
            raise RefStarError(f'{title}: a process died; out of memory, or a damaged lmdb (make it again)') from None
        finally:
            pool.shutdown(cancel_futures=True)
