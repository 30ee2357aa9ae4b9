"""Baselines of the ablation as archs: load them with ``--import ablation_networks``, this folder on PYTHONPATH.

Axis letters: b batch, n references, c channels, h w feature size, l positions, k keys.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from einops import rearrange
from torch import Tensor, nn

from refstar import RefSTAR
from refstar.layers import resize

KEYS = 32  # references are attended to at no finer grid than this


@ARCH_REGISTRY.register()
class RefSTARNoSelection(RefSTAR):
    """RefSTAR whose convex mix takes the whole reference, without a selection; options as of :class:`RefSTAR`."""

    def select_and_match(
        self, lq: Tensor, encoded: Iterable[list[Tensor]], valid: Tensor, mask: Tensor | None
    ) -> dict[str, Any]:
        if mask is None:
            mask = torch.ones_like(lq[:, :1]).expand(-1, valid.shape[1], -1, -1)[:, :, None]
        return super().select_and_match(lq, encoded, valid, mask)


@ARCH_REGISTRY.register()
class RefSTARVanilla(RefSTAR):
    """RefSTAR with residual cross-attention in place of the convex mix; options as of :class:`RefSTAR`.

    The baseline that the paper warns of: a network may learn to ignore the references.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sizes = [(mix.project.out_channels, mix.project.in_channels) for mix in self.transfer]
        self.transfer = nn.ModuleList([VanillaAttention(*channels) for channels in sizes])

    def select_and_match(
        self, lq: Tensor, encoded: Iterable[list[Tensor]], valid: Tensor, mask: Tensor | None
    ) -> dict[str, Any]:
        return {**super().select_and_match(lq, encoded, valid, mask), 'valid': valid}

    def gather_features(self, encoded: Iterable[dict[int, Tensor]], aux: dict[str, Any]) -> dict[int, Tensor]:
        """Keep the features of all references in their own coordinates, each (b, n, c, r, r)."""
        parts = list(encoded)
        return {r: torch.cat([part[r] for part in parts], 1) for r in self.taps.values()}

    def tap_functions(
        self, features: dict[int, Tensor], aux: dict[str, Any], strength: float | Tensor
    ) -> dict[str, Callable[[Tensor], Tensor]]:
        taps = zip(self.taps.items(), self.transfer, strict=True)
        given = {'valid': aux['valid'], 'strength': strength}
        return {tap: partial(attention, ref=features[r], **given) for (tap, r), attention in taps}


class VanillaAttention(nn.Module):
    """``F + attention(F, R)``: queries from the backbone, keys and values from all valid references.

    Args:
        channels (int): channels of the backbone at this tap.
        ref_channels (int): channels of the reference features.
    """

    def __init__(self, channels: int, ref_channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, ref_channels, 1)
        self.key_value = nn.Conv2d(ref_channels, 2 * ref_channels, 1)
        self.out = nn.Conv2d(ref_channels, channels, 1)

    def forward(self, feature: Tensor, ref: Tensor, valid: Tensor, strength: float | Tensor) -> Tensor:
        """Add what the references show.

        Args:
            feature (Tensor): backbone feature, (b, c, h, w).
            ref (Tensor): reference features, (b, n, c', h, w).
            valid (Tensor): bool, (b, n).
            strength (float | Tensor): factor; a tensor has shape (b, 1, 1, 1).

        Returns:
            Tensor: (b, c, h, w); equal to ``feature`` where no reference is valid.
        """
        n, size = ref.shape[1], [min(s, KEYS) for s in ref.shape[-2:]]
        kv = rearrange(self.key_value(resize(ref.flatten(0, 1), size)), '(b n) c h w -> b (n h w) c', n=n)
        k, v = kv.chunk(2, -1)
        q = rearrange(self.query(feature), 'b c h w -> b (h w) c')
        some = valid.any(1)
        attended = (valid | ~some[:, None]).repeat_interleave(size[0] * size[1], 1)  # a softmax needs one key
        y = F.scaled_dot_product_attention(q, k, v, attended[:, None])
        y = self.out(rearrange(y, 'b (h w) c -> b c h w', h=feature.shape[-2]))
        return feature + strength * some[:, None, None, None] * y
