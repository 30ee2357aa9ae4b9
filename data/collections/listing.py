"""Lists of photos: what an entry of a list holds, and how named files are found, counted, and refused by name."""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from refstar.utils.errors import RefStarError
from refstar.utils.photo_files import folders_in, is_photo, natural
from refstar.utils.text_files import shorten

from ..images import contains, database_of, names_in, read_meta_info

MAX_NAME = 255  # bytes of one part of a path: what file systems allow
NO_NAME = re.compile(r'^[A-Za-z]:|[\x00-\x1f\x7f]')


@dataclass(frozen=True)
class Entry:
    """One image and its references, in any form of list.

    A file in an lmdb has the path `<name>.lmdb/<image name>`.
    """

    name: str  # unique and fit to be a file name; no suffix
    identity: str  # the person; entries of one person share it
    gt: Path | None  # ground truth, None where there is none (real degraded photos)
    lq: Path | None  # degraded, None where it is to be synthesised
    refs: tuple[Path, ...]  # photos of the same person, the most useful first
    weight: float = 1.0  # how often to draw this entry, relative to the others


class Missing:
    """Collects what is wrong with a list, to report it together: as an `error`, or as a warning and `drop` it."""

    def __init__(self, policy: str):
        self.policy = policy
        self.found: dict[str, dict[str, None]] = {}
        self.left_out = 0
        self._seen: dict[Path, bool] = {}

    def __call__(self, path: Path) -> bool:
        """Return True and note the file if it is missing."""
        if path not in self._seen:
            self._seen[path] = contains(path) if database_of(path) else os.path.isfile(path)
        if not self._seen[path]:
            self.note(str(path))
        return not self._seen[path]

    def note(self, what: str, kind: str = 'missing') -> None:
        """Note, by a name of its own, what is missing or wrong in another way."""
        self.found.setdefault(kind, {})[what] = None

    def note_double(self, image: Path, name: str) -> None:
        """Note an image that is left out, as an entry before it has its name."""
        self.note(f'{image} (as {name})', 'listed twice or of one name with another')
        self.left_out += 1

    def settle(self, source: str) -> None:
        """Raise a RefStarError, or log, what was found, by the policy."""
        counts = [
            f'{len(names)} {kind}: {", ".join(list(names)[:5])}{", ..." if len(names) > 5 else ""}'
            for kind, names in self.found.items()
        ]
        message = f'{source}: {"; ".join(counts)}'
        if counts and self.policy == 'error':
            raise RefStarError(f'{message}. Set missing: drop to go on without them')
        if counts:
            logging.getLogger('basicsr').warning('%s; dropped, and %d images that need them', message, self.left_out)


def folder(opt: Mapping, key: str) -> Path:
    """Return the folder (or lmdb) that an option names; raise a RefStarError where there is none."""
    if not opt.get(key) or not isinstance(opt[key], (str, Path)):
        raise RefStarError(f'dataset: {key} must be one path, got {shorten(opt.get(key))}')
    path = Path(opt[key]).expanduser()
    if not path.is_dir():
        raise RefStarError(f'{key}: there is no folder {path}')
    return path


def inside(root: Path, name: str, source: str) -> Path:
    """Return `root / name`; raise a RefStarError if it is empty, absolute, climbs by `..`, or can be no file name."""
    pure = PurePosixPath(name.replace('\\', '/'))
    outside = not pure.parts or not name.strip() or pure.is_absolute() or '..' in pure.parts
    if outside or NO_NAME.search(name) or any(len(part.encode()) > MAX_NAME for part in pure.parts):
        raise RefStarError(f'{source}: {shorten(name)} must be a file name inside {root}')
    return root.joinpath(*pure.parts)


def distinct(entries: Iterable[Entry], missing: Missing) -> list[Entry]:
    """Return the entries without later ones of the same name, which are noted in `missing`."""
    kept: dict[str, Entry] = {}
    for entry in entries:
        if kept.setdefault(entry.name, entry) is not entry:
            missing.note_double(entry.gt or entry.lq, entry.name)
    return list(kept.values())


class Tree:
    """Images directly below a root, and in its folders: on disk, in an lmdb, or as a `meta_info` file lists them.

    Images on disk and in an lmdb are in natural order, 2 before 10; those of a `meta_info` file in that of the list.

    Raises:
        RefStarError: the lmdb or the `meta_info` file is broken, or a name leads out of the root.
    """

    def __init__(self, root: Path, meta_info: str | None = None):
        self.root = root
        self._listed: dict[str, list[str]] | None = None
        if meta_info or database_of(root):
            self._listed = {}
            names = read_meta_info(meta_info) if meta_info else sorted(names_in(root), key=natural)
            for name in names:
                image = inside(root, name, meta_info or f'{root}/meta_info.txt').relative_to(root)
                home = '' if image.parent == Path() else image.parent.as_posix()
                self._listed.setdefault(home, []).append(image.name)

    def folders(self) -> list[str]:
        """Return the names of the folders below the root, 2 before 10."""
        if self._listed is not None:
            return sorted(filter(None, self._listed), key=natural)
        return [path.name for path in folders_in(self.root)]

    def names(self, folder: str = '') -> list[str]:
        """Return the names of the images in one folder, or directly below the root; none where there is no folder."""
        if self._listed is not None:
            return self._listed.get(folder, [])
        try:
            return sorted(filter(is_photo, os.listdir(os.path.join(self.root, folder))), key=natural)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise RefStarError(f'{self.root / folder}: cannot be read ({error})') from None

    def images(self, folder: str = '') -> list[Path]:
        """Return the paths of `names`."""
        return [self.root / folder / name for name in self.names(folder)]
