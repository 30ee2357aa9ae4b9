"""One look at an image file: can it be read, how large is it, what does it look like."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from refstar.data.images import decode
from refstar.utils.errors import RefStarError

HASH_SIDE = 16  # 256 bits; the usual 64 take aligned faces of different people for one photo


@dataclass(frozen=True)
class Scan:
    """What was found.

    Args:
        error: why it cannot be read, '' if it can.
        width, height: in pixels.
        fingerprint: perceptual hash of 32 bytes, b'' where none was asked for.
    """

    error: str = ''
    width: int = 0
    height: int = 0
    fingerprint: bytes = b''


def scan(path: Path) -> Scan:
    """Reads an image whole and measures it."""
    try:
        img = decode(path, 'RGB')
    except RefStarError as error:
        return Scan(error=str(error))
    return Scan(width=img.shape[1], height=img.shape[0])


def scan_and_hash(path: Path) -> Scan:
    """As `scan`, with the fingerprint."""
    try:
        img = decode(path, 'RGB')
    except RefStarError as error:
        return Scan(error=str(error))
    return Scan('', img.shape[1], img.shape[0], fingerprint(img))


def fingerprint(img: np.ndarray) -> bytes:
    """Perceptual hash (signs of the low frequencies) of an image (H, W, 3) uint8: 32 bytes.

    Raises:
        RefStarError: the package imagehash is not installed.
    """
    bits = require_imagehash().phash(Image.fromarray(img), HASH_SIDE).hash
    return np.packbits(bits).tobytes()


def require_imagehash():
    """The package imagehash.

    Raises:
        RefStarError: it is not installed.
    """
    try:
        import imagehash
    except ImportError:
        raise RefStarError("looking for duplicates needs imagehash: pip install 'refstar[data]'") from None
    return imagehash
