"""A light backbone for the network that ships: a U-Net on folded pixels, which adds a correction to the photo.

Axis letters: b batch, c channels, h w feature size, H W image size.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from refstar.utils.archs import register_arch
from refstar.utils.errors import RefStarError

from .known_bands import keep_photo
from .layers import ResBlock, act, enlarge

FOLD = 4  # FOLD x FOLD pixels become channels


def fold(x: Tensor, side: int = FOLD) -> Tensor:
    """Fold pixels (b, c, H, W) into channels; as `F.pixel_unshuffle`, which leaves a batch of none as it is."""
    return rearrange(x, 'b c (h i) (w j) -> b (c i j) h w', i=side, j=side)


def begin(net: nn.Module) -> None:
    """Set the weights to train from: signals keep their size, residual blocks add little, and the output is zero."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, 0.2)
            nn.init.zeros_(module.bias)
    for module in net.modules():
        if isinstance(module, ResBlock):
            module.conv2.weight.data.mul_(0.2)
        if isinstance(module, Unfold):
            nn.init.zeros_(module[-1].weight)


class Unfold(nn.Sequential):
    """Turn features (b, c, H / side, W / side) into planes (b, planes, H, W) in steps of two, so that no grid shows.

    Untrained, they are zero.
    """

    def __init__(self, channels: int, planes: int = 3, side: int = FOLD) -> None:
        steps, unfold = [], Rearrange('b (c i j) h w -> b c (h i) (w j)', i=2, j=2)  # as nn.PixelShuffle
        for c in [max(channels >> 2 * level, 8) for level in range(1, side.bit_length())]:
            steps += [nn.LeakyReLU(0.2), nn.Conv2d(channels, 4 * c, 3, padding=1), unfold]
            channels = c
        super().__init__(*steps, nn.LeakyReLU(0.2), nn.Conv2d(channels, planes, 3, padding=1))


class Octave(nn.Module):
    """Correct the finest octave of a photo, given the correction of the photo at half its size.

    Args:
        channels (int): width.
        coarse_channels (int): channels of the features of the network for half the size.
        blocks (int): residual blocks.
    """

    def __init__(self, channels: int, coarse_channels: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(6 * FOLD**2 + coarse_channels, channels, 3, padding=1)
        self.body = nn.Sequential(*(ResBlock(channels) for _ in range(blocks)))
        self.out = Unfold(channels)

    def forward(self, lq: Tensor, coarse: Tensor, features: Tensor) -> Tensor:
        """Return the correction of ``lq`` (b, 3, H, W), given that of half the size, (b, 3, H/2, W/2), and features."""
        coarse = enlarge(coarse, lq.shape[-2:])
        seen = [fold(torch.cat([lq, lq + coarse], 1))]
        x = self.stem(torch.cat([*seen, enlarge(features, seen[0].shape[-2:])], 1))
        return coarse + self.out(self.body(x))


class Fuse(nn.Module):
    """Take from another restorer's output what a restored photo lacks; untrained, nothing.

    Args:
        channels (int): width.
        blocks (int): residual blocks.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(9 * FOLD**2, channels, 3, padding=1)
        self.body = nn.Sequential(*(ResBlock(channels) for _ in range(blocks)))
        self.out = Unfold(channels, planes=4)

    def forward(self, lq: Tensor, restored: Tensor, base: Tensor) -> Tensor:
        """Fuse images (b, 3, H, W): a share of ``base``, which may differ in every pixel, and a correction."""
        seen = fold(torch.cat([lq, restored, base], 1))
        out = self.out(self.body(self.stem(seen)))
        return torch.lerp(restored, base, out[:, 3:].type_as(restored)) + out[:, :3]


@register_arch
class LightRestorer(nn.Module):
    """Restore a photo; untrained, return it.

    The widest grid has H / 4 x W / 4 cells; each further level halves it.

    Args:
        channels (list[int]): width of every level, fine to coarse. Default: [64, 128, 192, 256].
        blocks (int): residual blocks of every level, on the way down and on the way up. Default: 2.
        octave (int): width of a further stage: the U-Net then works on the photo at half its size, and this stage
            adds the finest octave. 0: none. Default: 0.
        base (int): width of a last stage, which fuses the output with that of another restorer. 0: none. Default: 0.
        keep (tuple | list | None): limits of :func:`~refstar.known_bands.keep_photo`, used in evaluation mode. None:
            every correction is made. Default: (0.5, 0.006, 2), chosen on validation people (docs/experiments.md).

    Raises:
        RefStarError: the limits are not three values of 0 or more.
    """

    def __init__(
        self,
        channels: tuple[int, ...] | list[int] = (64, 128, 192, 256),
        blocks: int = 2,
        octave: int = 0,
        base: int = 0,
        keep: tuple[float, float, float] | list[float] | None = (0.5, 0.006, 2),
    ) -> None:
        super().__init__()
        if keep is not None and not (len(keep) == 3 and min(keep) >= 0):
            raise RefStarError(f'LightRestorer: keep is {keep}; give three values from 0, [0.5, 0.006, 2], or null')
        self.keep = keep

        def body(c: int) -> nn.Sequential:
            return nn.Sequential(*(ResBlock(c) for _ in range(blocks)))

        self.stem = nn.Conv2d(3 * FOLD**2, channels[0], 3, padding=1)
        self.encode = nn.ModuleList([body(c) for c in channels])
        self.down = nn.ModuleList([nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(channels)])
        self.merge = nn.ModuleList([nn.Conv2d(a + b, a, 3, padding=1) for a, b in pairwise(channels)])
        self.decode = nn.ModuleList([body(a) for a in channels[:-1]])
        self.out = Unfold(channels[0])
        self.octave = Octave(octave, channels[0], blocks + 1) if octave else None
        self.fuse = Fuse(base, blocks + 2) if base else None
        begin(self)

    def forward(self, lq: Tensor, base: Tensor | None = None) -> Tensor:
        """Restore (b, 3, H, W), RGB in [-1, 1]; the same shape and range come back.

        H and W are multiples of 4 times two to the number of levels less one; of twice that with ``octave``. ``base``,
        what another restorer made of the photo, has the same shape and range.

        Raises:
            RefStarError: there is a base, and no stage for it.
        """
        if base is not None and self.fuse is None:
            raise RefStarError('this network takes no output of another restorer (network_g.backbone.base is 0)')
        if self.octave is None:
            restored = lq + self.correct(lq)[0]
        else:
            restored = lq + self.octave(lq, *self.correct(F.avg_pool2d(lq, 2)))
        if base is not None:
            restored = self.fuse(lq, restored, base)
        return restored if self.training or not self.keep else keep_photo(restored, lq, self.keep)

    def correct(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """Return the correction of a photo, (b, 3, H, W), and the features (b, c, H/4, W/4) that it is made of."""
        x, skips = self.stem(fold(lq)), []
        for encode, down in zip(self.encode, [*self.down, None], strict=True):
            x = encode(x)
            if down is not None:
                skips.append(x)
                x = down(act(x))
        for merge, decode in zip(reversed(self.merge), reversed(self.decode), strict=True):
            skip = skips.pop()
            x = decode(merge(torch.cat([skip, enlarge(x, skip.shape[-2:])], 1)))
        return self.out(x), x
