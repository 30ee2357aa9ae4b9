"""Images in BasicSR's lmdb: a folder `<name>.lmdb` with `data.mdb` and `meta_info.txt`.

An image in it is addressed like a file, `faces.lmdb/ann/1.png`; its key is the name without suffix, `ann/1`.
"""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import lmdb

from refstar.utils.errors import RefStarError

from .meta_info import read_meta_info

ADDRESS = re.compile(r'(?P<database>.+\.lmdb)(?:[/\\](?P<name>.*))?')


def database_of(path: Path) -> Path | None:
    """The lmdb that a path is or leads into, None for an ordinary path."""
    match = ADDRESS.fullmatch(str(path))
    return match and Path(match['database'])


def names_in(database: Path) -> list[str]:
    """The image names of an lmdb, as its `meta_info.txt` lists them: `ann/1.png`.

    Raises:
        RefStarError: it is no lmdb in BasicSR's form, or was cut off.
    """
    return _opened(str(database)).names


def contains(path: Path) -> bool:
    """Whether the lmdb that the path leads into lists this image; the suffix does not count.

    Raises:
        RefStarError: as `names_in`.
    """
    database, key = _address(path)
    return key in _opened(database).keys


def read_bytes(path: Path) -> bytes:
    """The encoded image at a path into an lmdb.

    Raises:
        RefStarError: there is none, or as `names_in`.
    """
    database, key = _address(path)
    try:
        with _opened(database).environment.begin() as transaction:
            data = transaction.get(key.encode())
    except lmdb.Error as error:
        raise _broken(database, error) from None
    if data is None:
        raise RefStarError(f'{path}: {database} has no such key')
    return data


def _address(path: Path) -> tuple[str, str]:
    match = ADDRESS.fullmatch(str(path))
    return match['database'], _key(match['name'] or '')


def _key(name: str) -> str:
    return os.path.splitext(name)[0]


def _broken(database: str, reason: object) -> RefStarError:
    return RefStarError(f'{database}: is no whole lmdb in the form of BasicSR ({reason}); make it again')


@dataclass(frozen=True)
class _Database:
    """An open lmdb. `stamp` tells whether its files were replaced since."""

    path: str
    stamp: tuple
    environment: lmdb.Environment

    @cached_property
    def names(self) -> list[str]:
        names = read_meta_info(f'{self.path}/meta_info.txt')
        held = self.environment.stat()['entries']
        if held < len(names):
            raise _broken(self.path, f'meta_info.txt lists {len(names)} images, data.mdb holds {held}')
        return names

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(map(_key, self.names))


_open: dict[str, _Database] = {}  # lmdb allows one environment per file and process; forked workers go on using it


def _opened(path: str) -> _Database:
    absolute = os.path.abspath(path)
    try:
        stats = [os.stat(f'{absolute}/{name}') for name in ('data.mdb', 'meta_info.txt')]
    except OSError as error:
        raise _broken(path, f'{os.path.basename(error.filename)} is missing') from None
    stamp = tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)
    known = _open.get(absolute)
    if known is None or known.stamp != stamp:
        if known is not None:
            known.environment.close()
            del _open[absolute]
        known = _open[absolute] = _Database(path, stamp, _environment(absolute, stats[0].st_size))
    return known


def _environment(path: str, size: int) -> lmdb.Environment:
    try:
        environment = lmdb.open(path, readonly=True, lock=False, readahead=False, create=False)
        needed = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    except lmdb.Error as error:
        raise _broken(path, error) from None
    if size < needed:  # reading pages that are not there would end the process by SIGBUS
        environment.close()
        raise _broken(path, f'data.mdb has {size} of {needed} bytes: it was cut off')
    return environment
