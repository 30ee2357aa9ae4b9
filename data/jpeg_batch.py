"""JPEG compression of a batch, on whatever device it lies: what libjpeg writes and reads, with colours at half size.

BasicSR's `DiffJPEG` is not used: its tables are no whole numbers (quality 100 divides by zero), and it repeats colours
where decoders interpolate.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from refstar.utils.device import send

# ITU-T T.81, tables K.1 and K.2
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMA = tuple(
    tuple({(0, 0): 17, (0, 1): 18, (1, 1): 21, (0, 2): 24, (1, 2): 26, (2, 2): 56, (0, 3): 47, (1, 3): 66}.get(
        (min(i, j), max(i, j)), 99) for j in range(8)) for i in range(8)
)  # fmt: skip
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
BLOCK = 16  # sides of the images must be multiples of it


def jpeg_batch(x: Tensor, quality: Tensor) -> Tensor:
    """Writes and reads a JPEG of every image.

    Args:
        x: (b, 3, H, W), RGB in [0, 1], sides multiples of 16; rounded to 8 bits first.
        quality: (b,), 1 (worst) to 100.

    Returns:
        The decoded images, in the same form, on the grid of 8-bit values.
    """
    x = (x.clamp(0, 1) * 255).round()
    y, *colours = _turn(x, TO_YCC).round().split(1, 1)
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)  # libjpeg's whole numbers
    y = _code(y - 128, _table(LUMA, scale)) + 128
    half = F.avg_pool2d(torch.cat(colours, 1), 2)
    half = _code(half.round(), _table(CHROMA, scale))
    colours = F.interpolate(half, scale_factor=2, mode='bilinear', align_corners=False).round()
    return _turn(torch.cat([y, colours], 1), TO_RGB).round().clamp(0, 255) / 255


def _turn(x: Tensor, matrix: tuple) -> Tensor:
    return torch.einsum('ij,bjhw->bihw', send(np.array(matrix, np.float32), x.device), x)


def _table(base: tuple, scale: Tensor) -> Tensor:
    """Steps of the coefficients for every image, (b, 1, 1, 1, 8, 8)."""
    base = send(np.array(base, np.float32), scale.device)
    table = (base * scale.view(-1, 1, 1) + 50).div(100, rounding_mode='floor')
    return table.clamp(1, 255)[:, None, None, None]


def _code(x: Tensor, table: Tensor) -> Tensor:
    """Cosine transform of blocks of 8 pixels, rounded to steps, and back to whole values of 8 bits."""
    k = torch.arange(8, dtype=x.dtype, device=x.device)
    dct = torch.cos(math.pi / 8 * (k + 0.5) * k[:, None]) / 2
    dct[0] /= math.sqrt(2)
    blocks = rearrange(x, 'b c (h p) (w q) -> b c h w p q', p=8, q=8)
    steps = (dct @ blocks @ dct.T / table).round()
    blocks = dct.T @ (steps * table) @ dct
    return rearrange(blocks, 'b c h w p q -> b c (h p) (w q)').round().clamp(-128, 127)
