"""Features of the reference photos at the resolutions where they are needed.

Axis letters: m = b * n images, c channels, h w feature size, H W image size.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from refstar.utils.errors import RefStarError

from .layers import ResBlock, act


class ReferenceEncoder(nn.Module):
    """A convolutional pyramid.

    Args:
        size (int): image size H = W.
        resolutions (list[int]): wanted feature sizes, each ``size`` divided by a power of two, any order.
        channels (int): channels of every level.
    """

    def __init__(self, size: int, resolutions: list[int], channels: int) -> None:
        super().__init__()
        self.resolutions = sorted(set(resolutions), reverse=True)
        for r in self.resolutions:
            if size % r or (size // r) & (size // r - 1):
                raise RefStarError(
                    f'RefSTAR: a tap of {r} pixels is not the image size {size} divided by a power of two'
                )
        self.unshuffle = size // self.resolutions[0]
        self.stem = nn.Conv2d(3 * self.unshuffle**2, channels, 3, padding=1)
        sizes, r = [], self.resolutions[0]
        while r >= self.resolutions[-1]:
            sizes.append(r)
            r //= 2
        self.sizes = sizes
        self.blocks = nn.ModuleList([ResBlock(channels) for _ in sizes])
        self.downs = nn.ModuleList([nn.Conv2d(channels, channels, 4, stride=2, padding=1) for _ in sizes[1:]])

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """(m, 3, H, W) RGB in [-1, 1] -> {resolution r: (m, c, r, r)}."""
        x = self.stem(F.pixel_unshuffle(x, self.unshuffle))
        out = {}
        for i, r in enumerate(self.sizes):
            if i:
                x = self.downs[i - 1](act(x))
            x = self.blocks[i](x)
            if r in self.resolutions:
                out[r] = x
        return out
