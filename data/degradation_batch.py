"""The degradation of `degradation.py` for a whole batch at once, on whatever device the photos lie.

Every photo has its own kernel, factor, noise and quality, drawn in the data loader; so the distribution is that of the
CPU, and one photo comes out as there but for rounding.

Axis letters: b batch, H W image size; the shrunken images lie in the corner of one canvas.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refstar.utils.device import send

from .blur import anisotropic_kernel
from .degradation import Draw
from .jpeg_batch import BLOCK, jpeg_batch

NUMBERS = [(field.name, field.type) for field in fields(Draw) if field.name != 'field']


def pack(draw: Draw) -> Tensor:
    """A draw as float64 (8,), which a data loader can stack."""
    return torch.tensor([getattr(draw, name) for name, _ in NUMBERS], dtype=torch.float64)


def unpack(rows: Tensor) -> list[Draw]:
    """Draws from a batch of what `pack` made, (b, 8)."""
    return [
        Draw(**{name: kind(value) for (name, kind), value in zip(NUMBERS, row, strict=True)}) for row in rows.tolist()
    ]


def complete(data: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch with the LQ photos that its data set left to the model (`degrade_on: model`).

    Args:
        data: a batch with gt (b, 3, H, W) in [-1, 1], and with `lq_draw` (b, 8) in place of `lq`; likewise others.
        device: where to degrade.
    """
    left = [key for key in data if key.endswith('_draw')]
    if not left:
        return data
    draws = {key.removesuffix('_draw'): unpack(data[key]) for key in left}
    gt = data['gt'].to(device, non_blocking=True)
    made = {key: degrade((gt + 1) / 2, rows) * 2 - 1 for key, rows in draws.items()}
    return {**{key: value for key, value in data.items() if key not in left}, 'gt': gt, **made}


@torch.no_grad()
def degrade(gt: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Degrades a batch.

    Args:
        gt: (b, 3, H, W), RGB in [0, 1].
        draws: one for each photo; the noise comes from torch's generator of the device.

    Returns:
        The degraded photos, in the same form, on the grid of 8-bit values.
    """
    b, _, height, width = gt.shape
    numbers = [(draw.height, draw.width, draw.noise, draw.quality) for draw in draws]
    rows, columns, noise, quality = send(np.array(numbers, np.float32), gt.device).unbind(1)
    rows, columns = rows.long(), columns.long()
    canvas = [-(-max(sides) // BLOCK) * BLOCK for sides in zip(*((d.height, d.width) for d in draws), strict=True)]
    lq = sample(blur(gt.float(), draws), positions(height, rows, canvas[0]), positions(width, columns, canvas[1]))
    lq = repeat_edges(lq + noise.view(b, 1, 1, 1) * torch.randn_like(lq), rows, columns)
    if any(draw.quality for draw in draws):
        lq = torch.where(quality.view(b, 1, 1, 1) > 0, jpeg_batch(lq, quality.clamp_min(1)), lq)
    lq = sample(lq, grow(height, rows), grow(width, columns))
    return (lq * 255).round().clamp(0, 255) / 255


def blur(x: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Convolves every photo with its own kernel, mirrored at the border, by Fourier transforms."""
    half = max(draw.kernel for draw in draws) // 2
    if half == 0:
        return x
    kernels = np.zeros((len(draws), 2 * half + 1, 2 * half + 1), np.float32)
    for kernel, draw in zip(kernels, draws, strict=True):
        inner = slice(half - draw.kernel // 2, half + draw.kernel // 2 + 1)
        kernel[inner, inner] = anisotropic_kernel(draw.kernel, draw.sigma_x, draw.sigma_y, draw.theta)
    height, width = x.shape[-2:]
    padded = F.pad(x, (half,) * 4, mode='reflect')
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(send(kernels, x.device), s=size)[:, None]
    blurred = torch.fft.irfft2(torch.fft.rfft2(padded) * spectrum, s=size)
    return blurred[..., 2 * half : 2 * half + height, 2 * half : 2 * half + width]


def positions(side: int, small: Tensor, count: int) -> Tensor:
    """Where the pixels of shrunken images lie in the large one, as `cv2.resize` has it; the last is repeated.

    Args:
        side: of the large image in pixels.
        small: sides of the shrunken ones, (b,).
        count: positions wanted.

    Returns:
        (b, count) in pixels of the large image.
    """
    index = torch.arange(count, device=small.device).minimum(small[:, None] - 1)
    return ((index + 0.5) * (side / small[:, None]) - 0.5).clamp(0, side - 1)


def grow(side: int, small: Tensor) -> Tensor:
    """Where the pixels of the large image lie in shrunken ones, (b, side) in pixels of those."""
    index = torch.arange(side, device=small.device)[None]
    return ((index + 0.5) * (small[:, None] / side) - 0.5).clamp_min(0).minimum(small[:, None] - 1.0)


def sample(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear values of every image at its own rows (b, h) and columns (b, w): (b, c, h, w)."""
    height, width = x.shape[-2:]
    y, z = rows * (2 / max(height - 1, 1)) - 1, columns * (2 / max(width - 1, 1)) - 1
    grid = torch.stack(torch.broadcast_tensors(z[:, None, :], y[:, :, None]), -1)
    return F.grid_sample(x, grid.to(x.dtype), mode='bilinear', padding_mode='border', align_corners=True)


def repeat_edges(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Fills the canvas beyond each image with its last row and column, as a JPEG encoder does."""
    b, c, height, width = x.shape
    row = torch.arange(height, device=x.device).minimum(rows[:, None] - 1)
    column = torch.arange(width, device=x.device).minimum(columns[:, None] - 1)
    x = x.gather(2, row.view(b, 1, height, 1).expand(b, c, height, width))
    return x.gather(3, column.view(b, 1, 1, width).expand(b, c, height, width))
