"""Degradation on the model's device (`degrade_on: model`): the draws of `degradation.py`, applied by torch.

Each photo comes out as from the data loader, but for rounding and for the noise, which is torch's.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from refstar.utils.device import send

from .blur import covariance, gaussian_kernel
from .degradation import DegradationDraw

NUMBERS = [(field.name, field.type) for field in fields(DegradationDraw) if field.name != 'field']
# Quantisation tables of JPEG: ITU-T T.81, K.1 (luma) and K.2 (colour)
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
COLOUR = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))  # the rest is 99
TO_YCC = np.float32([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
TO_RGB = np.float32([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])


def pack_draw(draw: DegradationDraw) -> Tensor:
    """Return the numbers of a draw as float64 (8,), which a data loader can stack."""
    return torch.tensor([getattr(draw, name) for name, _ in NUMBERS], dtype=torch.float64)


def unpack_draws(rows: Tensor) -> list[DegradationDraw]:
    """Return the draws of a batch of rows that `pack_draw` made, (b, 8)."""
    return [
        DegradationDraw(**{name: kind(value) for (name, kind), value in zip(NUMBERS, row, strict=True)})
        for row in rows.tolist()
    ]


def add_degraded(data: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Replace every `<key>_draw` (b, 8) of a batch by `<key>` (b, 3, H, W), made from its `gt`; images in [-1, 1]."""
    left = [key for key in data if key.endswith('_draw')]
    if not left:
        return data
    gt = data['gt'].to(device, non_blocking=True)
    made = {key.removesuffix('_draw'): degrade((gt + 1) / 2, unpack_draws(data[key])) * 2 - 1 for key in left}
    return {**{key: value for key, value in data.items() if key not in left}, 'gt': gt, **made}


@torch.no_grad()
def degrade(gt: Tensor, draws: Sequence[DegradationDraw]) -> Tensor:
    """Degrade photos (b, 3, H, W), RGB in [0, 1], with one draw each; return 8-bit levels in the same form."""
    return torch.stack([_degrade(img.float(), draw) for img, draw in zip(gt, draws, strict=True)])


def _degrade(img: Tensor, draw: DegradationDraw) -> Tensor:
    lq = _blur(img, draw) if draw.kernel >= 3 else img
    lq = F.interpolate(lq[None], (draw.height, draw.width), mode='bilinear')
    lq = ((lq + draw.noise * torch.randn_like(lq)).clamp(0, 1) * 255).round()
    if draw.quality:
        lq = jpeg_levels(lq, draw.quality)
    return F.interpolate(lq, img.shape[1:], mode='bilinear')[0].round() / 255


def _blur(img: Tensor, draw: DegradationDraw) -> Tensor:
    """Convolve an image (3, H, W) with the kernel of a draw, mirrored at its borders."""
    kernel = gaussian_kernel(draw.kernel, covariance(draw.sigma_x, draw.sigma_y, draw.theta))
    padded = F.pad(img, (draw.kernel // 2,) * 4, mode='reflect')
    size = padded.shape[1:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(send(kernel, img.device), s=size)
    return torch.fft.irfft2(spectrum, s=size)[:, draw.kernel - 1 :, draw.kernel - 1 :]


def jpeg_levels(x: Tensor, quality: int) -> Tensor:
    """Write and read a JPEG as libjpeg does, with colours at half size.

    Args:
        x: (b, 3, h, w), RGB, whole numbers from 0 to 255.
        quality: 1 (worst) to 100.

    Returns:
        The decoded images, in the same form.
    """
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % 16, 0, -height % 16), mode='replicate')
    y, colours = _turn(x, TO_YCC).round().split((1, 2), 1)
    half = _quantise(F.avg_pool2d(colours, 2).round(), np.pad(COLOUR, ((0, 4), (0, 4)), constant_values=99), quality)
    colours = F.interpolate(half, scale_factor=2, mode='bilinear').round()
    x = _turn(torch.cat([_quantise(y - 128, LUMA, quality) + 128, colours], 1), TO_RGB)
    return x.round().clamp(0, 255)[..., :height, :width]


def _turn(x: Tensor, matrix: np.ndarray) -> Tensor:
    return torch.einsum('ij,bjhw->bihw', send(matrix, x.device), x)


def _quantise(x: Tensor, table, quality: int) -> Tensor:
    """Round the cosine coefficients of blocks of 8 pixels to their steps; return whole values of 8 bits."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality  # libjpeg's whole numbers
    steps = send(np.clip((np.asarray(table) * scale + 50) // 100, 1, 255).astype(np.float32), x.device)
    k = torch.arange(8, dtype=x.dtype, device=x.device)
    dct = torch.cos(math.pi / 8 * (k + 0.5) * k[:, None]) / 2
    dct[0] /= math.sqrt(2)
    blocks = rearrange(x, 'b c (h p) (w q) -> b c h w p q', p=8, q=8)
    blocks = dct.T @ ((dct @ blocks @ dct.T / steps).round() * steps) @ dct
    return rearrange(blocks, 'b c h w p q -> b c (h p) (w q)').round().clamp(-128, 127)
