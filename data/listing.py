"""Files and lists named by a user: found, counted, and refused with their name where they are wrong."""

import csv
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ..errors import RefStarError

IMAGE_SUFFIXES = frozenset({'.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff'})


class Missing:
    """Collects missing files, to report them together: as an error, or as a warning and drop them."""

    def __init__(self, policy: str):
        if policy not in ('error', 'drop'):
            raise RefStarError(f'missing must be error or drop, got {policy!r}')
        self.policy = policy
        self.paths: dict[str, None] = {}
        self._seen: dict[Path, bool] = {}

    def __call__(self, path: Path) -> bool:
        """True if the file is missing, which is noted."""
        if path not in self._seen:
            self._seen[path] = path.is_file()
        if not self._seen[path]:
            self.note(str(path))
        return not self._seen[path]

    def note(self, what: str):
        """Notes a missing thing by a name of its own."""
        self.paths[what] = None

    def settle(self, source: str):
        """Raises or logs what was missing.

        Raises:
            RefStarError: something was missing and the policy is `error`.
        """
        if not self.paths:
            return
        shown = ', '.join(list(self.paths)[:5]) + (', ...' if len(self.paths) > 5 else '')
        message = f'{source}: {len(self.paths)} missing: {shown}'
        if self.policy == 'error':
            raise RefStarError(f'{message}. Set missing: drop to go on without them')
        logging.getLogger('basicsr').warning('%s; dropped', message)


def folder(opt: Mapping, key: str) -> Path:
    """The folder that an option names.

    Raises:
        RefStarError: the option is not set, or there is no such folder.
    """
    if not opt.get(key):
        raise RefStarError(f'dataset: {key} is not set')
    path = Path(opt[key]).expanduser()
    if not path.is_dir():
        raise RefStarError(f'{key}: there is no folder {path}')
    return path


def inside(root: Path, name: str, source: str) -> Path:
    """`root / name`, refused where the name leads out of the root.

    Raises:
        RefStarError: the name is empty, absolute, or climbs by `..`.
    """
    pure = PurePosixPath(name.replace('\\', '/'))
    if not name.strip() or pure.is_absolute() or '..' in pure.parts or re.match('[A-Za-z]:', name):
        raise RefStarError(f'{source}: {name!r} must be a file name inside {root}')
    return root.joinpath(*pure.parts)


def images_in(path: Path) -> list[Path]:
    """The image files of a folder, 2 before 10."""
    return sorted((p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=lambda p: natural(p.name))


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts `2.png` before `10.png`."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r'(\d+)', name)]


def read_lines(path: str) -> list[str]:
    """The lines of a text file, without blanks.

    Raises:
        RefStarError: it cannot be read or has no line.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding='utf-8-sig').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        raise RefStarError(f'{path}: cannot be read ({error})') from None
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise RefStarError(f'{path}: is empty')
    return lines


def read_csv(path: str, columns: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a csv with a header, each with its `file:line`.

    Raises:
        RefStarError: it cannot be read, or a column is not in the header or not in a row.
    """
    try:
        text = Path(path).expanduser().read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise RefStarError(f'{path}: cannot be read ({error})') from None
    try:
        reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
        header = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        rows = [(f'{path}:{reader.line_num}', row) for row in reader]
    except csv.Error as error:
        raise RefStarError(f'{path}: is no csv ({error})') from None
    absent = [column for column in columns if column not in header]
    if absent:
        found = ', '.join(header) or 'none'
        raise RefStarError(f'{path}: the header has no column {", ".join(absent)}; it has {found}')
    for where, row in rows:
        if None in row.values() or None in row:
            raise RefStarError(f'{where}: expected {len(header)} fields ({", ".join(header)})')
    return rows
