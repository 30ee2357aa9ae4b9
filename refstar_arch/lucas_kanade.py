"""Lucas and Kanade's step (1981): the move of a flow that makes two photos agree better. Nothing is learned.

It compares what a degradation leaves of both photos: their luminance between two scales, in units of the local
contrast, so that light and exposure count little.

Axis letters: m images, h w size of the flow, H W size of the images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import resize, warp

# Shares of the image side, chosen on synthetic people at 64 px (1.5 px, 5 px; 1.5 and 3 cells of a grid of 16).
FINE, COARSE = 1.5 / 64, 5 / 64
WINDOWS = (1.5 / 16, 3 / 16)
MAX_GAP = 1.5  # difference that counts, in units of the local contrast
MAX_STEP = 4.0  # longest step, in cells of the flow's grid


def smooth(x: Tensor, sigma: float) -> Tensor:
    """Blur (m, c, H, W) by a Gaussian of ``sigma`` pixels; edges are repeated."""
    radius = max(1, round(2.5 * sigma))
    i = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (i / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(F.pad(x, [radius, radius, 0, 0], mode='replicate'), kernel, groups=x.shape[1])
    return F.conv2d(F.pad(x, [0, 0, radius, radius], mode='replicate'), kernel.mT, groups=x.shape[1])


def contrast(x: Tensor) -> Tensor:
    """Divide band-passed luminance by its local deviation: (m, 3, H, W) in [-1, 1] -> (m, 1, H, W)."""
    side = x.shape[-1]
    x = smooth(x.mean(1, keepdim=True), FINE * side)
    x = x - smooth(x, COARSE * side)
    return x / (smooth(x * x, COARSE * side).sqrt() + 0.05)


def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take central differences along x and y; each has the shape of ``x``."""
    x = F.pad(x, [1, 1, 1, 1], mode='replicate')
    return (x[..., 1:-1, 2:] - x[..., 1:-1, :-2]) / 2, (x[..., 2:, 1:-1] - x[..., :-2, 1:-1]) / 2


@torch.no_grad()
def steps(photo: Tensor, other: Tensor, flow: Tensor) -> Tensor:
    """Compute the least-squares step of every window from a flow (m, 2, h, w) of one photo to another.

    Both photos are results of :func:`contrast`, (m, 1, H, W); the flow lies on the grid of the first.

    Returns:
        Tensor: (m, 2 * len(WINDOWS), h, w), (x, y) of every window in cells of the flow's grid; no gradient.
    """
    size = flow.shape[-2:]
    warped = warp(other, resize(flow, photo.shape[-2:]))
    x, y = ((a + b) / 2 for a, b in zip(gradient(photo), gradient(warped), strict=True))
    gap = (photo - warped).clamp(-MAX_GAP, MAX_GAP)
    products = resize(torch.cat([x * x, x * y, y * y, x * gap, y * gap], 1), size)
    found = []
    for window in WINDOWS:
        xx, xy, yy, xd, yd = smooth(products, window * size[1]).chunk(5, 1)
        ridge = 0.02 * (xx + yy) + 2e-4
        xx, yy = xx + ridge, yy + ridge
        step = torch.cat([yy * xd - xy * yd, xx * yd - xy * xd], 1) / (xx * yy - xy * xy)
        found.append(step * (size[1] / photo.shape[-1]))
    return torch.cat(found, 1).clamp(-MAX_STEP, MAX_STEP)
