"""The journal of a mask review: one line per decision, on disk before it counts, never changed afterwards."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from refstar.utils.atomic_files import sync_folder
from refstar.utils.errors import RefStarError

ACTIONS = ('accept', 'reject', 'undo', 'changed')


@dataclass(frozen=True)
class Standing:
    """What holds for a pair: its provenance in `meta.csv`, and the sha256 of its mask file."""

    state: str
    mask: str


@dataclass(frozen=True)
class Decision:
    """One line of the journal.

    Args:
        id: of the pair.
        version: 1 for the first decision on this pair, 2 for the second ...
        action: accept, reject, undo, or `changed`: another program replaced the mask, earlier decisions are void.
        now: what holds from here on.
        was: what held before.
        time: UTC, ISO 8601.
    """

    id: str
    version: int
    action: str
    now: Standing
    was: Standing
    time: str

    def line(self) -> bytes:
        """The decision as a line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False).encode() + b'\n'

    @classmethod
    def parse(cls, line: bytes) -> 'Decision':
        """Raises `ValueError` where the line is no decision."""
        try:
            raw = json.loads(line)
            now, was = (Standing(raw[key]['state'], raw[key]['mask']) for key in ('now', 'was'))
            decision = cls(raw['id'], raw['version'], raw['action'], now, was, raw['time'])
        except (KeyError, TypeError) as error:
            raise ValueError(f'{type(error).__name__}: {error}') from None
        texts = (decision.id, decision.time, now.state, now.mask, was.state, was.mask)
        if not all(isinstance(text, str) for text in texts) or type(decision.version) is not int:
            raise ValueError('a value has the wrong type')
        if decision.action not in ACTIONS:
            raise ValueError(f'action {decision.action!r}')
        return decision


@dataclass
class Record:
    """The decisions on one pair, folded.

    Args:
        version: how many there were.
        last: the latest of them.
        past: what held before each decision that still stands; empty where the pair is not reviewed (any more).
    """

    version: int = 0
    last: Decision | None = None
    past: list[Standing] = field(default_factory=list)

    def apply(self, decision: Decision) -> None:
        """Adds the next decision.

        Raises:
            ValueError: it does not follow the ones before.
        """
        if decision.version != self.version + 1:
            raise ValueError(f'version {decision.version} follows {self.version}')
        if decision.action == 'undo':
            if not self.past:
                raise ValueError('there is nothing to undo')
            self.past.pop()
        elif decision.action == 'changed':
            self.past.clear()
        else:
            self.past.append(decision.was)
        self.version, self.last = decision.version, decision


class Journal:
    """The file of decisions, open for one process at a time.

    A last line without its end was never acknowledged: the writer died in it. It is cut off, `torn` says so.

    Args:
        path: file, made if absent.

    Raises:
        RefStarError: another process has it open, it cannot be read or written, or a line is no decision.
    """

    def __init__(self, path: Path):
        self.path = path
        self.torn = False
        self.records: dict[str, Record] = {}
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RefStarError(f'{path}: cannot be opened ({error.strerror})') from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
            sync_folder(path.parent)
        except BlockingIOError:
            os.close(self._file)
            raise RefStarError(f'{path}: another review of this folder is running; use that one or end it') from None
        except BaseException:
            os.close(self._file)
            raise

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b'\n') + 1
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                self._apply(Decision.parse(line))
            except ValueError as error:
                raise RefStarError(
                    f'{self.path}:{number}: is no decision that can stand here ({error}); '
                    'bring back the file from a copy, or take this line and those after it out'
                ) from None
        self.torn = whole < len(content)
        self._cut(whole)

    def _apply(self, decision: Decision) -> None:
        self.records.setdefault(decision.id, Record()).apply(decision)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._file, size)
        os.fsync(self._file)
        self._size = size

    def record(self, name: str) -> Record:
        """The decisions on a pair, folded."""
        return self.records.get(name) or Record()

    def append(self, decision: Decision) -> None:
        """Adds a decision. It is on disk when this returns; when it raises it does not count.

        Raises:
            OSError: it could not be written (disk full ...).
        """
        line = decision.line()
        if os.fstat(self._file).st_size != self._size:  # left by a write that failed, and could not be taken back then
            self._cut(self._size)
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        except OSError:
            self._cut(self._size)
            raise
        self._size += len(line)
        self._apply(decision)

    def close(self) -> None:
        """Lets another process have it."""
        os.close(self._file)
