"""One network, many users: their requests wait in line, first come, first served."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from refstar.utils.errors import RefStarError

from .sessions import Full


class Busy(RefStarError):
    """A user asks for more before the first is done."""


class Queue:
    """Runs functions one at a time, in a thread of its own.

    Args:
        longest: requests in line.
        each: requests of one owner in line.
    """

    def __init__(self, longest: int, each: int) -> None:
        self.longest, self.each = longest, each
        self._thread = ThreadPoolExecutor(1, 'network')
        self._line: list[tuple[str, Future]] = []
        self._lock = threading.Lock()

    def submit(self, owner: str, function: Callable, *args: Any) -> Future:
        """Puts `function(*args)` in line; a future that is cancelled before its turn is passed over.

        Raises:
            Busy: the owner has too many in line.
            Full: the line is too long.
        """
        with self._lock:
            if sum(other == owner for other, _ in self._line) >= self.each:
                raise Busy('your requests before this one are not done yet; wait for them')
            if len(self._line) >= self.longest:
                raise Full(f'{self.longest} requests are in line; try again in some minutes')
            place = owner, self._thread.submit(function, *args)
            self._line.append(place)
        place[1].add_done_callback(lambda _: self._leave(place))
        return place[1]

    def later(self, function: Callable, *args: Any) -> None:
        """Runs `function(*args)` when all that is in line by now is done; it takes nobody's place."""
        self._thread.submit(function, *args)

    def ahead(self, owner: str) -> int | None:
        """How many requests come before the owner's first; 0: it is its turn. None: the owner has none in line."""
        with self._lock:
            return next((i for i, (other, _) in enumerate(self._line) if other == owner), None)

    def close(self) -> None:
        """Ends the thread when the request in work is done; the others are cancelled."""
        self._thread.shutdown(cancel_futures=True)

    def _leave(self, place: tuple[str, Future]) -> None:
        with self._lock:
            self._line.remove(place)
