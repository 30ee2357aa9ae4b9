"""Network of generative backbones: a convolutional U-Net on folded pixels that knows the time.

Axis letters: b batch, c channels, d width of the embedded time, h w feature size, H W image size.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from .layers import ResBlock, act, enlarge
from .light_arch import FOLD, Unfold, begin, fold

FREQUENCIES = 32  # of the embedded time: 1 to 1000 radians over [0, 1]


class TimeBlock(ResBlock):
    """Residual block whose inner features are scaled and shifted by the time."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__(channels)
        self.norm = nn.GroupNorm(math.gcd(8, channels), channels)
        self.time = nn.Linear(dim, 2 * channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map features (b, c, h, w) and an embedded time (b, d) to features of the same shape."""
        scale, shift = self.time(time)[:, :, None, None].chunk(2, 1)
        return x + self.conv2(act(torch.addcmul(shift, self.norm(self.conv1(act(x))), 1 + scale)))


class TimeBlocks(nn.ModuleList):
    """Blocks of one level, one after the other."""

    def __init__(self, count: int, channels: int, dim: int) -> None:
        super().__init__(TimeBlock(channels, dim) for _ in range(count))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        for block in self:
            x = block(x, time)
        return x


class VelocityNet(nn.Module):
    """Predict a velocity (or noise) of images; untrained, zero.

    Args:
        planes (int): planes of the images that it sees.
        channels (list[int]): width of every level, fine to coarse; the first has H / side x W / side cells, each
            further one half as many along a side.
        blocks (int): residual blocks of every level, on the way down and on the way up.
        out (int): planes of the velocity. Default: 3.
        side (int): pixels along a side of a cell of the first level, a power of two. Default: 4.
    """

    def __init__(self, planes: int, channels: list[int], blocks: int, out: int = 3, side: int = FOLD) -> None:
        super().__init__()
        self.side = side
        dim = 2 * channels[0]
        self.embed = nn.Sequential(nn.Linear(2 * FREQUENCIES, dim), nn.LeakyReLU(0.2), nn.Linear(dim, dim))
        self.stem = nn.Conv2d(planes * side**2, channels[0], 3, padding=1)
        self.encode = nn.ModuleList([TimeBlocks(blocks, c, dim) for c in channels])
        self.down = nn.ModuleList([nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(channels)])
        self.merge = nn.ModuleList([nn.Conv2d(a + b, a, 3, padding=1) for a, b in pairwise(channels)])
        self.decode = nn.ModuleList([TimeBlocks(blocks, a, dim) for a in channels[:-1]])
        self.out = Unfold(channels[0], out, side)
        begin(self)

    def forward(self, images: Tensor, time: Tensor) -> Tensor:
        """Map images (b, planes, H, W) and a time (b,) in [0, 1] to (b, out, H, W)."""
        angles = time[:, None] * torch.logspace(0, 3, FREQUENCIES, device=time.device)
        time = act(self.embed(torch.cat([angles.sin(), angles.cos()], 1)))
        x, skips = self.stem(fold(images, self.side)), []
        for encode, down in zip(self.encode, [*self.down, None], strict=True):
            x = encode(x, time)
            if down is not None:
                skips.append(x)
                x = down(act(x))
        for merge, decode in zip(reversed(self.merge), reversed(self.decode), strict=True):
            skip = skips.pop()
            x = decode(merge(torch.cat([skip, enlarge(x, skip.shape[-2:])], 1)), time)
        return self.out(x)
