"""Where the time of a command goes: seconds by stage."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

SPENT: Counter[str] = Counter()  # stage -> seconds, without the stages inside it
_running: list[str] = []


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Count the time until the end of the context, or of a function decorated with it, for a stage."""
    start = perf_counter()
    _running.append(stage)
    try:
        yield
    finally:
        _running.pop()
        seconds = perf_counter() - start
        SPENT[stage] += seconds
        if _running:
            SPENT[_running[-1]] -= seconds
