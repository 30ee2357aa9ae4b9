"""Transfer of reference features into a backbone, at one tap.

Two streams meet as a convex mix ``F' = (1 - a) F + a T(R, F)``. The content of ``T`` comes from the reference alone.
The backbone's own features enter ``T`` only after an average pooling to the structure grid, as scale and shift.
Whatever is finer than that grid can, inside the selection, come from the reference only: the network cannot opt out.
The equations are this project's own.

Axis letters: b batch, n references, m = b * n images, c channels, h w feature size, H W image size.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from refstar.utils.errors import RefStarError

from .layers import ResBlock, act, enlarge, resize, warp


class ReferenceEncoder(nn.Module):
    """Convolutional pyramid: features of the references at the resolutions of the taps.

    Args:
        size (int): image size H = W.
        resolutions (list[int]): wanted feature sizes, any order; each divides the largest one, which divides ``size``.
        channels (int): channels of every level.

    Raises:
        RefStarError: a resolution does not.
    """

    def __init__(self, size: int, resolutions: list[int], channels: int) -> None:
        super().__init__()
        self.resolutions = sorted(set(resolutions), reverse=True)
        for r in self.resolutions:
            if self.resolutions[0] % r or size % r:
                raise RefStarError(
                    f'RefSTAR: a tap of {r} pixels does not divide the image size {size} and the largest tap, of '
                    f'{self.resolutions[0]} pixels'
                )
        self.unshuffle = size // self.resolutions[0]
        self.stem = nn.Conv2d(3 * self.unshuffle**2, channels, 3, padding=1)
        largest = self.resolutions[0]
        halvings = {r: (largest // r & -(largest // r)).bit_length() - 1 for r in self.resolutions}
        self.sizes = sizes = [largest >> k for k in range(max(halvings.values()) + 1)]
        self.sources = {r: largest >> k for r, k in halvings.items()}  # level that a resolution is averaged from
        self.blocks = nn.ModuleList([ResBlock(channels) for _ in sizes])
        self.downs = nn.ModuleList([nn.Conv2d(channels, channels, 4, stride=2, padding=1) for _ in sizes[1:]])

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """(m, 3, H, W) RGB in [-1, 1] -> {resolution r: (m, c, r, r)}."""
        x = self.stem(F.pixel_unshuffle(x, self.unshuffle))
        levels = {}
        for i, r in enumerate(self.sizes):
            if i:
                x = self.downs[i - 1](act(x))
            levels[r] = x = self.blocks[i](x)
        return {r: resize(levels[source], (r, r)) for r, source in self.sources.items()}


class PixelPyramid(nn.Module):
    """The references' own pixels at several resolutions, in place of encoded features."""

    def __init__(self, resolutions: list[int]) -> None:
        super().__init__()
        self.resolutions = sorted(set(resolutions), reverse=True)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """(m, 3, H, W) -> {resolution r: (m, 3, r, r)}."""
        return {r: resize(x, (r, r)) for r in self.resolutions}


class Transfer(nn.Module):
    """Mix reference features into backbone features at one tap.

    Args:
        channels (int): channels of the backbone at this tap.
        ref_channels (int): channels of the reference features.
        structure_size (int): size of the structure grid; the structure stream keeps nothing finer.
        fold (int): the reference features are so many times larger than the tap; fold x fold of them become channels.
            Default: 1.
    """

    def __init__(self, channels: int, ref_channels: int, structure_size: int, fold: int = 1) -> None:
        super().__init__()
        self.structure_size, self.fold = structure_size, fold
        width = ref_channels if fold == 1 else channels
        self.content = nn.Conv2d(ref_channels * fold**2, width, 3, padding=1)
        self.project = nn.Conv2d(width, channels, 1)
        self.scale = nn.Conv2d(channels, channels, 1)
        self.shift = nn.Conv2d(channels, channels, 1)
        for conv in (self.scale, self.shift):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)
        nn.init.dirac_(self.shift.weight)

    def forward(self, feature: Tensor, ref: Tensor, alpha: Tensor) -> Tensor:
        """Mix one tap.

        Args:
            feature (Tensor): backbone feature, (b, c, h, w).
            ref (Tensor): reference features in LQ coordinates, (b, c', fold h, fold w), see :func:`warp_features`.
            alpha (Tensor): selection in LQ coordinates, (b, 1, ., .), in [0, 1].

        Returns:
            Tensor: (b, c, h, w); equal to ``feature`` bit for bit where ``alpha`` is 0.
        """
        size = feature.shape[-2:]
        ref = act(ref) if self.fold == 1 else F.pixel_unshuffle(ref, self.fold)
        structure = resize(feature, [min(s, self.structure_size) for s in size])
        scale, shift = enlarge(1 + self.scale(structure), size), enlarge(self.shift(structure), size)
        content = self.project(act(self.content(ref)))
        mixed = torch.addcmul(shift, content, scale)
        return torch.lerp(feature, mixed.type_as(feature), resize(alpha, size).type_as(feature))


class ExtraInput(nn.Module):
    """Give a backbone's first convolution the references' own pixels as a further input, which starts at zero.

    Unlike the transfer it takes nothing away: what the convolution sees besides (noise, a state on its way) stays.
    Arguments as of :class:`Transfer`.
    """

    def __init__(self, channels: int, ref_channels: int, structure_size: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.conv = nn.Conv2d((ref_channels + 1) * fold**2, channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv.weight)

    def forward(self, feature: Tensor, ref: Tensor, alpha: Tensor) -> Tensor:
        """Add ``alpha * ref`` and ``alpha``; arguments as of :meth:`Transfer.forward`, and the same promise."""
        alpha = resize(alpha, ref.shape[-2:])
        seen = F.pixel_unshuffle(torch.cat([alpha * ref, alpha], 1), self.fold)
        return feature + self.conv(seen).type_as(feature)


def build_transfer(
    size: int,
    shapes: dict[str, tuple[int, int]],
    inputs: list[str],
    ref_channels: int,
    structure_size: int,
    pixels: int,
) -> tuple[nn.Module, nn.ModuleList]:
    """Build the encoder of references, and what brings its features into every tap; arguments as of ``RefSTAR``.

    Args:
        shapes: channels and resolution of every tap.
        inputs: taps that get an :class:`ExtraInput` in place of a :class:`Transfer`.

    Raises:
        RefStarError: there are inputs, but no pixels.
    """
    if inputs and not pixels:
        raise RefStarError('RefSTAR: inputs get the pixels of references; write pixels: 4, say, or inputs: []')
    resolutions = [r * max(pixels, 1) for _, r in shapes.values()]
    if pixels or not resolutions:
        encoder, ref_channels = PixelPyramid(resolutions), 3
    else:
        encoder = ReferenceEncoder(size, resolutions, ref_channels)
    kinds = [ExtraInput if tap in inputs else Transfer for tap in shapes]
    mixes = zip(kinds, shapes.values(), strict=True)
    return encoder, nn.ModuleList(
        kind(channels, ref_channels, structure_size, max(pixels, 1)) for kind, (channels, _) in mixes
    )


def warp_features(ref: Tensor, flow: Tensor, weight: Tensor) -> Tensor:
    """Warp reference features (b, n, c, h, w) into LQ coordinates and sum them over the references: (b, c, h, w).

    Flow (b, n, 2, ., .) and weight (b, n, 1, ., .) have any resolution; the weights of a person sum to 1.
    """
    size, n = ref.shape[-2:], ref.shape[1]
    warped = warp(ref.flatten(0, 1), resize(flow.flatten(0, 1), size)) * resize(weight.flatten(0, 1), size)
    return rearrange(warped, '(b n) c h w -> b n c h w', n=n).sum(1)


def gather(
    encoded: Iterable[dict[int, Tensor]], resolutions: list[int], flow: Tensor, weight: Tensor
) -> dict[int, Tensor]:
    """Apply :func:`warp_features` to features by resolution, in one or more parts along n: {r: (b, c, r, r)}."""
    gathered, start = dict.fromkeys(resolutions, 0), 0
    for part in encoded if gathered else ():
        refs = slice(start, start + next(iter(part.values())).shape[1])
        start = refs.stop
        for r, feature in part.items():
            gathered[r] = gathered[r] + warp_features(feature, flow[:, refs], weight[:, refs])
    return gathered
