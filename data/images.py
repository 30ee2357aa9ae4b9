"""Read images: from files, from BasicSR's lmdb, and square ones of one size; and BasicSR's `meta_info` lists of images.

An lmdb is a folder `<name>.lmdb` with `data.mdb` and `meta_info.txt`. An image in it is addressed like a file,
`faces.lmdb/ann/1.png`; its key is the name without suffix, `ann/1`.
"""

import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import lmdb
import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import decode_image
from refstar.utils.text_files import numbered_lines, shorten

ADDRESS = re.compile(r'(?P<database>.+\.lmdb)(?:[/\\](?P<name>.*))?')
META_LINE = re.compile(r'(?P<name>.+?\.\w+)(?:\s+\((?P<shape>\d+(?:,\s*\d+){1,2})\))?(?:\s+\d+)?')


def decode(path: Path, mode: str) -> np.ndarray:
    """Read an 8-bit image from a file or an lmdb as `RGB` (H, W, 3) or grey `L` (H, W), uint8.

    Raises:
        RefStarError: it cannot be read or is no complete 8-bit image.
    """
    return decode_image(read_bytes(path) if database_of(path) else path, mode, path)


class ImageStore:
    """Reader of images of one size.

    Args:
        size: side of the images in pixels.
        resize: resize others to `size` (averaging when shrinking, cubic when enlarging); else they are an error.
        preload: files to decode now and keep in memory as uint8, shared by forked workers.

    Raises:
        RefStarError: a file is not a readable image, not square, or of another size.
    """

    def __init__(self, size: int, resize: bool = False, preload: Iterable[Path] = ()):
        self.size = size
        self.resize = resize
        self._kept = {path: self.read(path) for path in dict.fromkeys(preload)}

    def __call__(self, path: Path) -> np.ndarray:
        """Return the image, (size, size, 3), RGB, float32 in [0, 1]; the caller may write into it."""
        img = self._kept.get(path)
        return np.divide(self.read(path) if img is None else img, 255, dtype=np.float32)

    def read(self, path: Path) -> np.ndarray:
        """Return the image as uint8, (size, size, 3), RGB."""
        return self._fit(decode(path, 'RGB'), path)

    def read_mask(self, path: Path) -> np.ndarray:
        """Return an 8-bit mask, (size, size), float32: 1 from the value 128 up, else 0."""
        return (self._fit(decode(path, 'L'), path) >= 128).astype(np.float32)

    def _fit(self, img: np.ndarray, path: Path) -> np.ndarray:
        height, width = img.shape[:2]
        if height != width:
            raise RefStarError(f'{path}: {width}x{height} is not square; align the face first')
        if height == self.size:
            return img
        if not self.resize:
            raise RefStarError(f'{path}: is {width}x{height}, expected {self.size}x{self.size}; set resize: true')
        shrink = height > self.size
        return cv2.resize(img, (self.size, self.size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)


def read_meta_info(path: str | Path) -> list[str]:
    """Read the image names of a `meta_info` file, in its order.

    Each line is `ann/1.png (512,512,3) 1`: a name with suffix, and optionally `(height,width,channels)` and a
    compression level, as BasicSR's scripts write them.

    Raises:
        RefStarError: the file cannot be read, or a line is malformed or names an image for the second time.
    """
    names: dict[str, str] = {}
    for where, line in numbered_lines(path):
        match = META_LINE.fullmatch(line)
        if match is None:
            raise RefStarError(f'{where}: expected a line such as 00001.png (512,512,3), got {shorten(line)}')
        name = str(PurePosixPath(match['name'].replace('\\', '/')))
        if name in names:
            raise RefStarError(f'{where}: {shorten(name)} is listed already at {names[name]}')
        names[name] = where
    return list(names)


def is_meta_info(line: str) -> bool:
    """Return whether a line holds an image's shape, which only `meta_info` files have."""
    match = META_LINE.fullmatch(line)
    return match is not None and match['shape'] is not None


def database_of(path: str | Path) -> Path | None:
    """Return the lmdb that a path is or leads into, None for an ordinary path."""
    match = ADDRESS.fullmatch(str(path))
    return match and Path(match['database'])


def names_in(database: Path) -> list[str]:
    """Return the image names of an lmdb, as its `meta_info.txt` lists them: `ann/1.png`.

    Raises:
        RefStarError: it is no lmdb in BasicSR's form, or is truncated.
    """
    return _open(os.path.abspath(database)).names


def contains(path: str | Path) -> bool:
    """Return whether the lmdb that the path leads into lists this image, as `names_in`; the suffix does not count."""
    database, key = _address(path)
    return key in _open(database).keys


def read_bytes(path: Path) -> bytes:
    """Read the encoded image at a path into an lmdb; errors as of `names_in`, or there is none."""
    database, key = _address(path)
    try:
        with _open(database).environment.begin() as transaction:
            data = transaction.get(key.encode())
    except lmdb.Error as error:
        raise _broken(database, error) from None
    if data is None:
        raise RefStarError(f'{path}: {database} has no such key')
    return data


def _address(path: str | Path) -> tuple[str, str]:
    """Return the absolute path of the lmdb that a path leads into, and the key of the image."""
    match = ADDRESS.fullmatch(str(path))
    return os.path.abspath(match['database']), os.path.splitext(match['name'] or '')[0]


def _broken(database: str, reason: object) -> RefStarError:
    return RefStarError(f'{database}: is no whole lmdb in the form of BasicSR ({reason}); make it again')


class _Database(NamedTuple):
    """An open lmdb, the names of its images, and their keys."""

    environment: lmdb.Environment
    names: list[str]
    keys: frozenset[str]


@cache  # LMDB allows one environment per file and process; forked workers share it
def _open(path: str) -> _Database:
    """Open an lmdb. Where data is missing LMDB itself would end the process by SIGBUS, so that is looked for here."""
    for file in ('data.mdb', 'meta_info.txt'):
        if not os.path.isfile(f'{path}/{file}'):
            raise _broken(path, f'{file} is missing')
    names = read_meta_info(f'{path}/meta_info.txt')
    try:
        environment = lmdb.open(path, readonly=True, lock=False, readahead=False, create=False)
    except lmdb.Error as error:
        raise _broken(path, error) from None
    held, size = environment.stat(), os.path.getsize(f'{path}/data.mdb')
    needed = (environment.info()['last_pgno'] + 1) * held['psize']
    reason = ''
    if size < needed:
        reason = f'data.mdb has {size} of {needed} bytes: it is truncated'
    elif held['entries'] < len(names):
        reason = f'meta_info.txt lists {len(names)} images, data.mdb holds {held["entries"]}'
    if reason:
        environment.close()
        raise _broken(path, reason)
    return _Database(environment, names, frozenset(os.path.splitext(name)[0] for name in names))
