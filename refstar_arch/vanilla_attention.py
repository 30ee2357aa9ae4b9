"""The baseline that the paper warns of: residual cross-attention, which a network may learn to ignore. For ablations.

Axis letters: b batch, n references, c channels, h w feature size, l positions, k keys.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .layers import resize

KEYS = 32  # references are attended to at no finer grid than this


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
        """Adds what the references say.

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
        usable = (valid | ~some[:, None]).repeat_interleave(size[0] * size[1], 1)  # a softmax needs one key
        y = F.scaled_dot_product_attention(q, k, v, usable[:, None])
        y = self.out(rearrange(y, 'b (h w) c -> b c h w', h=feature.shape[-2]))
        return feature + strength * some[:, None, None, None] * y
