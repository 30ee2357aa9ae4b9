"""Files named by a user: found, counted, and refused with their name where they are wrong."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from refstar.utils.errors import RefStarError
from refstar.utils.text_files import read_csv, read_lines, shorten

from . import lmdb_images

__all__ = ['IMAGE_SUFFIXES', 'Missing', 'folder', 'images_in', 'inside', 'natural', 'read_csv', 'read_lines']

IMAGE_SUFFIXES = frozenset({'.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff'})
MAX_NAME = 255  # bytes of one part of a path: what file systems allow


class Missing:
    """Collects what is wrong with a list, to report it together: as an error, or as a warning and drop it.

    Args:
        policy: `error` or `drop`.
    """

    def __init__(self, policy: str):
        if policy not in ('error', 'drop'):
            raise RefStarError(f'missing must be error or drop, got {policy!r}')
        self.policy = policy
        self.found: dict[str, dict[str, None]] = {}
        self.left_out = 0
        self._seen: dict[Path, bool] = {}

    def __call__(self, path: Path) -> bool:
        """True if the file is missing, which is noted."""
        if path not in self._seen:
            self._seen[path] = _exists(path)
        if not self._seen[path]:
            self.note(str(path))
        return not self._seen[path]

    def note(self, what: str, kind: str = 'missing'):
        """Notes a thing that is missing, or wrong in another way, by a name of its own."""
        self.found.setdefault(kind, {})[what] = None

    def settle(self, source: str):
        """Raises or logs what was found.

        Raises:
            RefStarError: something was wrong and the policy is `error`.
        """
        if not self.found:
            return
        parts = [
            f'{len(names)} {kind}: {", ".join(list(names)[:5])}{", ..." if len(names) > 5 else ""}'
            for kind, names in self.found.items()
        ]
        message = f'{source}: {"; ".join(parts)}'
        if self.policy == 'error':
            raise RefStarError(f'{message}. Set missing: drop to go on without them')
        logging.getLogger('basicsr').warning('%s; dropped, and %d images that need them', message, self.left_out)


def folder(opt: Mapping, key: str) -> Path:
    """The folder (or lmdb) that an option names.

    Raises:
        RefStarError: the option is not set, or there is no such folder.
    """
    if not opt.get(key):
        raise RefStarError(f'dataset: {key} is not set')
    if not isinstance(opt[key], (str, Path)):
        raise RefStarError(f'dataset: {key} must be one path, got {shorten(opt[key])}')
    path = Path(opt[key]).expanduser()
    if not path.is_dir():
        raise RefStarError(f'{key}: there is no folder {path}')
    return path


def inside(root: Path, name: str, source: str) -> Path:
    """`root / name`, refused where the name leads out of the root.

    Raises:
        RefStarError: the name is empty, absolute, climbs by `..`, or can be no file name.
    """
    pure = PurePosixPath(name.replace('\\', '/'))
    if not pure.parts or not name.strip() or pure.is_absolute() or '..' in pure.parts or re.match('[A-Za-z]:', name):
        raise RefStarError(f'{source}: {shorten(name)} must be a file name inside {root}')
    if re.search(r'[\x00-\x1f\x7f]', name) or any(len(part.encode()) > MAX_NAME for part in pure.parts):
        raise RefStarError(f'{source}: {shorten(name)} can be no file name')
    return root.joinpath(*pure.parts)


def images_in(path: Path) -> list[Path]:
    """The image files of a folder, 2 before 10.

    Raises:
        RefStarError: the folder cannot be read.
    """
    try:
        found = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise RefStarError(f'{path}: cannot be read ({error})') from None
    return sorted(found, key=lambda p: natural(p.name))


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts `2.png` before `10.png`."""
    parts = [(part.isdecimal() and len(part) <= MAX_NAME, part) for part in re.split(r'(\d+)', name)]
    return [(number, int(part) if number else 0, part) for number, part in parts]


def _exists(path: Path) -> bool:
    if lmdb_images.database_of(path):
        return lmdb_images.contains(path)
    try:
        return path.is_file()
    except OSError:
        return False
