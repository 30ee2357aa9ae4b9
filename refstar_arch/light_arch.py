"""A light backbone for the network that ships: a U-Net on folded pixels, which adds a correction to the photo.

Axis letters: b batch, c channels, h w feature size, H W image size.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from .layers import ResBlock, act, enlarge


@ARCH_REGISTRY.register()
class LightRestorer(nn.Module):
    """Restore a photo of any size that the fold and the levels divide; untrained, it returns the photo.

    `fold` x `fold` pixels become channels, so that the widest grid has H / fold x W / fold cells. Each further level
    halves it. The correction is unfolded in steps of two with a convolution after each, so that no grid shows.

    Args:
        fold (int): power of two. Default: 4.
        channels (list[int]): width of every level, fine to coarse. Default: [48, 96, 160, 256].
        blocks (int): residual blocks of every level, on the way down and on the way up. Default: 2.
    """

    def __init__(self, fold: int = 4, channels: tuple[int, ...] | list[int] = (48, 96, 160, 256), blocks: int = 2):
        super().__init__()
        self.fold = fold

        def body(c: int) -> nn.Sequential:
            return nn.Sequential(*(ResBlock(c) for _ in range(blocks)))

        pairs = list(pairwise(channels))
        self.stem = nn.Conv2d(3 * fold**2, channels[0], 3, padding=1)
        self.encode = nn.ModuleList([body(c) for c in channels])
        self.down = nn.ModuleList([nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairs])
        self.merge = nn.ModuleList([nn.Conv2d(a + b, a, 3, padding=1) for a, b in pairs])
        self.decode = nn.ModuleList([body(a) for a, _ in pairs])
        unfold, c = [], channels[0]
        while fold > 1:
            fold, smaller = fold // 2, max(c // 4, 8)
            unfold += [nn.Conv2d(c, 4 * smaller, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(0.2)]
            c = smaller
        self.unfold, self.out = nn.Sequential(*unfold), nn.Conv2d(c, 3, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, lq: Tensor) -> Tensor:
        """Restore (b, 3, H, W), RGB in any range around zero; the same shape and range come back."""
        x, skips = self.stem(F.pixel_unshuffle(lq, self.fold)), []
        for encode, down in zip(self.encode, [*self.down, None], strict=True):
            x = encode(x)
            if down is not None:
                skips.append(x)
                x = down(act(x))
        for merge, decode in zip(reversed(self.merge), reversed(self.decode), strict=True):
            skip = skips.pop()
            x = decode(merge(torch.cat([skip, enlarge(x, skip.shape[-2:])], 1)))
        return lq + self.out(self.unfold(act(x)))
