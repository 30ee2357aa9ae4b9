"""Released weights by name: those that ship, and those that are fetched once into a cache folder and checked by sha256.

The table is released_weights.yml. The folder is `$REFSTAR_HOME/weights`; the default is `refstar/weights` in the user's
cache folder. Nothing is fetched that was not asked for by name.
"""

import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from .errors import RefStarError, nearest
from .yaml_files import read_yaml_file

HOME, OFFLINE = 'REFSTAR_HOME', 'REFSTAR_OFFLINE'
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
RETRIES = 2  # after a failed download

PRETRAINED = Path(str(files('refstar') / 'pretrained'))  # files that ship with the package
SHIPPED = PRETRAINED / 'refstar_512.safetensors'  # made by `make release`


@dataclass(frozen=True)
class Released:
    """One file of the table.

    Attributes:
        url: where its publisher has it.
        licence: in a line.
        use: what it is for, and the key or flag it goes to.
        sha256: hexadecimal; None where no record was found, so that it cannot be checked.
        ships: name of its file in the package; None: it is fetched.
    """

    url: str
    licence: str
    use: str
    sha256: str | None = None
    ships: str | None = None

    @property
    def path(self) -> Path:
        """Where the file is, or would be."""
        return PRETRAINED / self.ships if self.ships else folder() / self.url.rpartition('/')[2]


@cache
def released() -> dict[str, Released]:
    """Read the table: name -> file."""
    table = read_yaml_file(str(files('refstar.utils') / 'released_weights.yml'))
    return {name: Released(**entry) for name, entry in table.items()}


def folder() -> Path:
    """Return the cache folder; it need not exist."""
    if os.environ.get(HOME):
        return Path(os.environ[HOME]).expanduser() / 'weights'
    import pooch

    return Path(pooch.os_cache('refstar')) / 'weights'


def find(name: str) -> Released:
    """Return the row of a name; RefStarError for an unknown one."""
    if name not in released():
        raise RefStarError(f'no weights are called {name!r}{nearest(name, released())}; see `refstar weights list`')
    return released()[name]


def resolve(name_or_path: str | None) -> str | None:
    """Return a path as it is; for a name of the table its file, fetched if it is not there yet."""
    known = name_or_path in released() and not Path(name_or_path).is_file()
    return str(get(name_or_path)) if known else name_or_path


def get(name: str, offline: bool = False) -> Path:
    """Return the file of a name, fetched if it is not there yet.

    Args:
        name: of the table.
        offline: never use the network; so does `REFSTAR_OFFLINE=1`.

    Raises:
        RefStarError: unknown name, offline and not there, the download failed, or the sha256 is
            another. A failed or wrong download leaves no file.
    """
    from filelock import FileLock

    entry, path = find(name), find(name).path
    if not path.is_file():
        if offline or os.environ.get(OFFLINE, '0') not in ('', '0'):
            raise RefStarError(f'{name}: {path} is not there, and offline; fetch {entry.url} and put it there')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f'.{path.name}.lock')):
                if not path.is_file():  # another process may have fetched it
                    _fetch(name, entry)
        except OSError as error:
            raise RefStarError(f'{name}: cannot write {path}: {error}') from error
    if entry.sha256 and (found := _sha256(path)) != entry.sha256:
        raise RefStarError(f'{path}: sha256 is {found}, not {entry.sha256}: broken or another file; delete it')
    return path


def _fetch(name: str, entry: Released) -> None:
    """Download to a temporary file, check it, rename it."""
    import pooch
    from requests.exceptions import RequestException

    path = entry.path
    print(f'{name}: licence {entry.licence}', file=sys.stderr, flush=True)  # `weights get` prints paths to stdout
    hashes, urls = {path.name: entry.sha256}, {path.name: entry.url}
    source = pooch.create(path.parent, '', registry=hashes, urls=urls, retry_if_failed=RETRIES)
    pooch.get_logger().setLevel('WARNING')
    try:
        source.fetch(path.name, downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT))
    except RequestException as error:
        reason = getattr(error.args[0], 'reason', error) if error.args else type(error).__name__
        reason = str(reason).rpartition(': ')[2]
        raise RefStarError(f'{name}: cannot fetch {entry.url} ({reason}); fetch it and put it at {path}') from error
    except ValueError as error:  # pooch's, of the hash
        raise RefStarError(f'{name}: {entry.url} is not the file of sha256 {entry.sha256}: refused') from error
    if not entry.sha256:
        print(f'{name}: no sha256 of it is known, so it was not checked; it is {_sha256(path)}', file=sys.stderr)


def _sha256(path: Path) -> str:
    from .checkpoint import sha256  # imports torch, which `refstar weights list` does not need

    return sha256(path)
