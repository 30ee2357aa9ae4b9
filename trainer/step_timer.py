"""Seconds by part."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch


class Clock:
    """Seconds by part; what a part within another one takes counts for the inner one alone.

    Args:
        waits: empty the GPU's queue at every change, so that its work counts for the part that asked for it.
    """

    def __init__(self, waits: bool = True) -> None:
        self.seconds: Counter[str] = Counter()
        self._waits = waits
        self._open: list[str] = []
        self._since = 0.0

    def _stop(self) -> None:
        if self._waits and torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """While open, time counts for this part."""
        self._stop()
        self._open.append(name)
        try:
            yield
        finally:
            self._stop()
            self._open.pop()

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Lets every call of a method count for a part."""
        plain: Callable[..., Any] = getattr(owner, method)

        @wraps(plain)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return plain(*args, **kwargs)

        setattr(owner, method, timed)
