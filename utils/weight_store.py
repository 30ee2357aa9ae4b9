"""Names -> files of released weights, in a cache folder. Nothing is fetched before somebody asks for it by name.

The folder is `$REFSTAR_HOME`, or `refstar` in the user's cache folder. A file is trusted by its sha256: that of the
table in :mod:`~refstar.utils.released_weights`, or, where the table has none, that of the first download, which is then
written down in `pins.json` and holds ever after.
"""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .checkpoint import sha256
from .download import Interrupted, download
from .errors import RefStarError, nearest
from .released_weights import RELEASED, Released

HOME, OFFLINE, MIRRORS, ACCEPT = 'REFSTAR_HOME', 'REFSTAR_OFFLINE', 'REFSTAR_MIRRORS', 'REFSTAR_ACCEPT_LICENCES'
ATTEMPTS = 5  # in a row that bring nothing; each goes on where the last one was cut


def home() -> Path:
    """The cache folder; it need not exist."""
    if os.environ.get(HOME):
        return Path(os.environ[HOME]).expanduser()
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'refstar'


def _listed(variable: str) -> list[str]:
    return [part.strip() for part in os.environ.get(variable, '').split(',') if part.strip()]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # not stdout, where `refstar weights get` prints paths


@dataclass
class WeightStore:
    """The cache folder and how it is filled.

    Attributes:
        folder: where the files are.
        offline: never use the network. Default: `REFSTAR_OFFLINE=1`.
        mirrors: addresses of folders with copies, tried before the publisher's: `https://host/folder`. Default:
            `REFSTAR_MIRRORS`, separated by commas.
        accepted: names of weights whose non-commercial licence the user accepts, or 'all'. Default:
            `REFSTAR_ACCEPT_LICENCES`, separated by commas.
        pause: seconds before the second attempt after a cut connection; doubles each time.
        table: the weights.
    """

    folder: Path = field(default_factory=home)
    offline: bool = field(default_factory=lambda: os.environ.get(OFFLINE, '0') not in ('', '0'))
    mirrors: Sequence[str] = field(default_factory=lambda: _listed(MIRRORS))
    accepted: Sequence[str] = field(default_factory=lambda: _listed(ACCEPT))
    pause: float = 1.0
    table: dict[str, Released] = field(default_factory=lambda: RELEASED)

    def entry(self, name: str) -> Released:
        """The table's row; RefStarError for an unknown name."""
        if name not in self.table:
            raise RefStarError(f'no weights are called {name!r}{nearest(name, self.table)}; see `refstar weights list`')
        return self.table[name]

    def path(self, name: str) -> Path:
        """Where a weight's file is, or would be."""
        return self.folder / 'weights' / self.entry(name).file

    def known_hash(self, name: str) -> str | None:
        """sha256 that the file must have: of the table, else of the first download."""
        return self.entry(name).sha256 or self._notes('pins.json').get(name, {}).get('sha256')

    def resolve(self, name_or_path: str | Path) -> Path:
        """A file that is there as it is; a name as :meth:`get`."""
        return Path(name_or_path) if Path(name_or_path).is_file() else self.get(str(name_or_path))

    def get(self, name: str) -> Path:
        """The file of a weight, fetched if it is not there yet.

        Raises:
            RefStarError: unknown name, offline and not there, licence not accepted, no source gives the file, or its
                sha256 is another.
        """
        entry, path = self.entry(name), self.path(name)
        self._licence(name, entry)
        if not path.is_file():
            if self.offline:
                raise RefStarError(f'{name}: not in {path.parent}, and offline; fetch {entry.url} and put it there')
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with self._alone(path):
                    if not path.is_file():  # another process may have been faster
                        self._fetch(name, path)
            except OSError as error:
                raise RefStarError(f'{name}: cannot write {path}: {error}') from error
        found, wanted = sha256(path), self.known_hash(name)
        if wanted is None:
            self._pin(name, found, 'a file that was put there by hand')
        elif found != wanted:
            raise RefStarError(f'{path}: sha256 is {found}, not {wanted}: broken or another file; delete it')
        return path

    # ------------------------------------------------------------- licences
    def _licence(self, name: str, entry: Released) -> None:
        """Shows a licence at first use; a non-commercial one has to be accepted."""
        seen = self._notes('licences.json')
        if name in seen:
            return
        if not entry.free and not {name, 'all'} & set(self.accepted):
            raise RefStarError(
                f'{name}: {entry.licence}. If you may and do accept it: `refstar weights get {name} --accept_licence`, '
                f'or {ACCEPT}={name}'
            )
        _tell(f'{name}: licence {entry.licence}')
        self._note('licences.json', name, {'licence': entry.licence, 'date': time.strftime('%Y-%m-%d')})

    # ------------------------------------------------------------- fetching
    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """Waits until no other process fetches this file."""
        with open(path.with_name(f'.{path.name}.lock'), 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _fetch(self, name: str, path: Path) -> None:
        entry, part, problems = self.entry(name), path.with_name(f'{path.name}.part'), []
        sources = [f'{mirror.rstrip("/")}/{entry.file}' for mirror in self.mirrors] + [entry.url]
        for url in sources:
            if not self.known_hash(name):
                part.unlink(missing_ok=True)  # nothing could tell that its halves are of two files
            resumed = part.exists()
            try:
                self._persist(url, part)
                problem = self._check(name, url, part, path)
                if problem and resumed:  # what was there before may have been of another file
                    self._persist(url, part)
                    problem = self._check(name, url, part, path)
            except Interrupted as error:
                problem = str(error)
            if problem is None:
                return
            problems.append(f'{url}: {problem}')
        raise RefStarError(f'{name}: {"; ".join(problems)}')

    def _persist(self, url: str, part: Path) -> None:
        """Downloads, going on after cut connections; gives up after ATTEMPTS in a row that brought nothing."""
        vain, size = 0, 0
        while True:
            try:
                download(url, part)
                return
            except Interrupted as error:
                now = part.stat().st_size if part.exists() else 0
                vain = 1 if now > size else vain + 1
                size = max(size, now)
                if not error.again or vain == ATTEMPTS:
                    raise
                time.sleep(self.pause * 2 ** (vain - 1))

    def _check(self, name: str, url: str, part: Path, path: Path) -> str | None:
        """Puts a complete download in place, or deletes it and says what is wrong with it."""
        found, wanted = sha256(part), self.known_hash(name)
        if wanted and found != wanted:
            part.unlink()
            return f'sha256 is {found}, not {wanted}: refused'
        if wanted is None:
            self._pin(name, found, url)
        os.replace(part, path)
        return None

    def _pin(self, name: str, digest: str, source: str) -> None:
        _tell(f'{name}: no sha256 of it is known; from now on it must be {digest}, as from {source}')
        self._note('pins.json', name, {'sha256': digest, 'source': source, 'date': time.strftime('%Y-%m-%d')})

    # ------------------------------------------------------------- notes
    def _notes(self, file: str) -> dict[str, Any]:
        path = self.folder / file
        if not path.is_file():
            return {}
        try:
            notes = json.loads(path.read_text())
            if not all(isinstance(value, dict) for value in notes.values()):
                raise ValueError
        except (ValueError, AttributeError, OSError) as error:
            raise RefStarError(f'{path}: is broken; look at it, then delete it') from error
        return notes

    def _note(self, file: str, name: str, value: dict[str, str]) -> None:
        path = self.folder / file
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._alone(path):
                part = path.with_name(f'.{file}.part')
                part.write_text(json.dumps({**self._notes(file), name: value}, indent=2) + '\n')
                os.replace(part, path)
        except OSError as error:
            raise RefStarError(f'cannot write {path}: {error}') from error
