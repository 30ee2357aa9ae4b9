"""Selection masks as PNG files: 8-bit grey, one channel."""

import io
import struct

import numpy as np
from PIL import Image

from refstar.utils.errors import RefStarError

SIGNATURE = b'\x89PNG\r\n\x1a\n'
GREY, DEPTH = 0, 8  # colour type and bit depth of a PNG header


def decode_mask(data: bytes, size: tuple[int, int], source: str) -> np.ndarray:
    """Reads a mask, which must be an 8-bit grey PNG of the given size.

    Args:
        data: content of the file.
        size: (width, height) of the picture it belongs to.
        source: what to call it in an error.

    Returns:
        (height, width) uint8.

    Raises:
        RefStarError: it is something else, or broken.
    """
    if len(data) < 33 or data[:8] != SIGNATURE or data[12:16] != b'IHDR':
        raise RefStarError(f'{source}: is no PNG')
    width, height, depth, colour = struct.unpack('>IIBB', data[16:26])
    if (depth, colour) != (DEPTH, GREY):
        raise RefStarError(f'{source}: must be an 8-bit grey PNG, is {depth}-bit with colour type {colour}')
    if (width, height) != size:
        raise RefStarError(f'{source}: is {width}x{height}, the reference is {size[0]}x{size[1]}')
    try:
        with Image.open(io.BytesIO(data), formats=['PNG']) as file:
            return np.array(file.convert('L'))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RefStarError(f'{source}: is a broken PNG ({error})') from None


def encode_mask(mask: np.ndarray) -> bytes:
    """(height, width) uint8 -> content of an 8-bit grey PNG."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, 'PNG', optimize=True)
    return file.getvalue()
