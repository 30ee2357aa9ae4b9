"""Transfer of reference features into a backbone, at one tap.

Two streams meet as a convex mix ``F' = (1 - a) F + a T(R, F)``. The content of ``T`` comes from the reference alone;
the backbone's own features enter ``T`` only after an average pooling to the structure grid, as scale and shift.
Whatever is finer than that grid can, inside the selection, come from the reference only: the network cannot opt out.
The equations are this project's own.

Axis letters: b batch, n references, c channels, h w feature size.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from .layers import act, enlarge, resize, warp


class Transfer(nn.Module):
    """Reference features into backbone features at one tap.

    Args:
        channels (int): channels of the backbone at this tap.
        ref_channels (int): channels of the reference features.
        structure_size (int): size of the structure grid; the structure stream keeps nothing finer.
    """

    def __init__(self, channels: int, ref_channels: int, structure_size: int) -> None:
        super().__init__()
        self.structure_size = structure_size
        self.content = nn.Conv2d(ref_channels, ref_channels, 3, padding=1)
        self.project = nn.Conv2d(ref_channels, channels, 1)
        self.scale = nn.Conv2d(channels, channels, 1)
        self.shift = nn.Conv2d(channels, channels, 1)
        for conv in (self.scale, self.shift):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)
        nn.init.dirac_(self.shift.weight)

    def forward(self, feature: Tensor, ref: Tensor, alpha: Tensor) -> Tensor:
        """Mixes one tap.

        Args:
            feature (Tensor): backbone feature, (b, c, h, w).
            ref (Tensor): reference features in LQ coordinates, (b, c', h, w), see :func:`fetch`.
            alpha (Tensor): selection in LQ coordinates, (b, 1, ., .), in [0, 1].

        Returns:
            Tensor: (b, c, h, w); equal to ``feature`` bit for bit where ``alpha`` is 0.
        """
        size = feature.shape[-2:]
        structure = resize(feature, [min(s, self.structure_size) for s in size])
        scale, shift = enlarge(1 + self.scale(structure), size), enlarge(self.shift(structure), size)
        content = self.project(act(self.content(act(ref))))
        mixed = torch.addcmul(shift, content, scale)
        return torch.lerp(feature, mixed.type_as(feature), resize(alpha, size).type_as(feature))


def fetch(ref: Tensor, flow: Tensor, weight: Tensor) -> Tensor:
    """Brings reference features into LQ coordinates and adds them up.

    Args:
        ref (Tensor): reference features, (b, n, c, h, w).
        flow (Tensor): sampling positions, (b, n, 2, ., .), any resolution.
        weight (Tensor): share of each reference, (b, n, 1, ., .); all shares of a person sum to 1.

    Returns:
        Tensor: (b, c, h, w).
    """
    size, n = ref.shape[-2:], ref.shape[1]
    fetched = warp(ref.flatten(0, 1), resize(flow.flatten(0, 1), size)) * resize(weight.flatten(0, 1), size)
    return rearrange(fetched, '(b n) c h w -> b n c h w', n=n).sum(1)
