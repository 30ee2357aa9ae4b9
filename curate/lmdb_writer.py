"""Pack images into an lmdb in the form of BasicSR, whole or not at all."""

import shutil
from functools import partial
from pathlib import Path

import cv2
import lmdb
import numpy as np
from basicsr.utils.lmdb_util import LmdbMaker

from refstar.data.collections.listing import Tree
from refstar.data.images import decode
from refstar.utils.errors import RefStarError
from refstar.utils.parallel import parallel

MAX_KEY = 511  # bytes, of lmdb


def pack_folder(root: Path, out: Path, compress_level: int = 1, jobs: int = 1) -> int:
    """Write all images below a folder as PNG into an lmdb, a new folder `*.lmdb`; return their number.

    The key of an image is its path below the root without suffix. `compress_level` is that of the PNG, 0 to 9.

    Raises:
        RefStarError: `out` exists or has another ending, two images have one key, or one cannot be read.
    """
    images = Tree(root).all_images()
    if not images:
        raise RefStarError(f'{root}: holds no image')
    if out.suffix != '.lmdb':
        raise RefStarError(f'{out}: the name of an lmdb must end in .lmdb')
    if out.exists():
        raise RefStarError(f'{out}: exists already; remove it, or give another name')
    keys: dict[str, Path] = {}
    for image in images:
        key = image.relative_to(root).with_suffix('').as_posix()
        if not key.isascii() or len(key) > MAX_KEY or ' ' in key:
            raise RefStarError(f'{image}: the key of an lmdb is ASCII without blanks, at most {MAX_KEY} characters')
        if keys.setdefault(key, image) is not image:
            raise RefStarError(f'{image} and {keys[key]} would have the same key {key}; rename one')
    unfinished = out.with_name(f'.{out.stem}.part.lmdb')
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        maker = LmdbMaker(str(unfinished), compress_level=compress_level)
        try:
            codes = parallel(partial(_encode, compress_level=compress_level), images, jobs, 'pack')
            for key, (code, shape) in zip(keys, codes, strict=True):
                maker.put(code, key, shape)
        finally:
            maker.close()
        unfinished.rename(out)
    except (OSError, lmdb.Error) as error:
        raise RefStarError(f'cannot write {out}: {error}') from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return len(images)


def _encode(path: Path, compress_level: int) -> tuple[bytes, tuple[int, int, int]]:
    img = decode(path, 'RGB')
    code = cv2.imencode('.png', img[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, compress_level])[1]
    return np.ascontiguousarray(code).tobytes(), img.shape
