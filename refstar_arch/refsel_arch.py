"""RefSel: which regions of a reference may be used for this degraded photo.

Axis letters: b batch, n references, m = b * n, c channels, h w feature size, H W image size.
"""

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from einops import rearrange
from torch import Tensor, nn

from .correspondence import Match, Matcher, MatchEncoder
from .layers import ResBlock, act, resize, warp


class SelectionHead(nn.Module):
    """Compares a reference with the degraded photo brought into its coordinates, and marks what they share."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.coarse_in = nn.Conv2d(2 * wide + 3, wide, 3, padding=1)
        self.coarse = nn.Sequential(ResBlock(wide, 1), ResBlock(wide, 2))
        self.person = nn.Sequential(nn.Linear(wide, wide), nn.LeakyReLU(0.2), nn.Linear(wide, wide))
        self.coarse_out = ResBlock(wide, 4)
        self.up = nn.Conv2d(wide, channels, 1)
        self.fine_in = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.fine = ResBlock(channels)
        self.out = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, lq: list[Tensor], ref: list[Tensor], back: Tensor, likeness: Tensor) -> Tensor:
        """Features (m, ...) and the reverse flow (m, 2, h, w) -> mask logits at stride 2, (m, 1, H/2, W/2)."""
        x = torch.cat([ref[1], warp(lq[1], back), back, likeness], 1)
        x = self.coarse(self.coarse_in(x))
        x = x + self.person(x.mean((2, 3)))[:, :, None, None]
        x = self.coarse_out(x)
        size = ref[0].shape[-2:]
        x = torch.cat([ref[0] + resize(self.up(act(x)), size), warp(lq[0], resize(back, size))], 1)
        return self.out(act(self.fine(self.fine_in(act(x)))))


@ARCH_REGISTRY.register()
class RefSel(nn.Module):
    """Reference selection: predicts from the *degraded* photo which regions of a reference may be used.

    The same features also give the correspondence (:class:`~refstar.correspondence.Match`), so that one network answers
    "what" and "where". The architecture is this project's own.

    Args:
        size (int): working size in pixels; photos are resized to it, the mask is resized back. A multiple of 4.
            Default: 128.
        channels (int): width. Default: 32.
    """

    def __init__(self, size: int = 128, channels: int = 32) -> None:
        super().__init__()
        if size % 4:
            raise ValueError(f'RefSel: size must be a multiple of 4, got {size}')
        self.size = size
        self.lq_encoder = MatchEncoder(channels)
        self.ref_encoder = MatchEncoder(channels)
        self.matcher = Matcher(channels)
        self.head = SelectionHead(channels)

    def encode_lq(self, lq: Tensor) -> list[Tensor]:
        """Degraded photos (b, 3, H, W), RGB in [-1, 1] -> features for :meth:`compare`."""
        return self.lq_encoder(resize(lq, (self.size, self.size)))

    def encode_ref(self, refs: Tensor) -> list[Tensor]:
        """References (b, n, 3, H, W), RGB in [-1, 1] -> features [(b, n, c, h, w), ...], reusable for any photo."""
        n = refs.shape[1]
        features = self.ref_encoder(resize(rearrange(refs, 'b n c h w -> (b n) c h w'), (self.size, self.size)))
        return [rearrange(x, '(b n) ... -> b n ...', n=n) for x in features]

    def compare(self, lq: list[Tensor], ref: list[Tensor]) -> tuple[Tensor, Match]:
        """Mask logits (b, n, 1, size/2, size/2) in reference coordinates, and the correspondence."""
        n = ref[0].shape[1]
        ref = [x.flatten(0, 1) for x in ref]
        match = self.matcher(lq, ref, n)
        logits = self.head(
            [x.repeat_interleave(n, 0) for x in lq], ref, match.back.flatten(0, 1), match.likeness.flatten(0, 1)
        )
        return rearrange(logits, '(b n) ... -> b n ...', n=n), match

    def forward(
        self, lq: Tensor, refs: Tensor, ref_valid: Tensor | None = None, return_aux: bool = False
    ) -> Tensor | tuple[Tensor, dict]:
        """Predicts the selection mask.

        Args:
            lq (Tensor): degraded face, shape (b, 3, H, W), RGB in [-1, 1].
            refs (Tensor): references, shape (b, n, 3, H, W), RGB in [-1, 1].
            ref_valid (Tensor | None): bool, shape (b, n); padding slots are False and get an all-zero mask.
            return_aux (bool): also return ``{'mask_logits', 'match', 'carried'}``. Default: False.

        Returns:
            Tensor: mask in [0, 1], shape (b, n, 1, H, W), in the reference's coordinates.
        """
        logits, match = self.compare(self.encode_lq(lq), self.encode_ref(refs))
        logits = resize_slots(logits, refs.shape[-2:])
        mask = logits.sigmoid()
        if ref_valid is not None:
            mask = mask * ref_valid[:, :, None, None, None]
        if not return_aux:
            return mask
        return mask, {'mask_logits': logits, 'match': match, 'carried': carry(mask, match.flow)}


def resize_slots(x: Tensor, size: tuple[int, int]) -> Tensor:
    """:func:`~refstar.layers.resize` for (b, n, c, h, w)."""
    return rearrange(resize(x.flatten(0, 1), size), '(b n) ... -> b n ...', n=x.shape[1])


def carry(mask: Tensor, flow: Tensor) -> Tensor:
    """Brings selection masks into LQ coordinates.

    Args:
        mask (Tensor): in reference coordinates, shape (b, n, 1, H, W).
        flow (Tensor): sampling positions for the LQ grid, shape (b, n, 2, h, w).

    Returns:
        Tensor: shape (b, n, 1, H, W); 0 where the flow leaves the reference.
    """
    flow = resize_slots(flow, mask.shape[-2:])
    carried = warp(mask.flatten(0, 1), flow.flatten(0, 1), padding='zeros')
    return rearrange(carried, '(b n) ... -> b n ...', n=mask.shape[1])
