"""Conditions a module of the backbone by tokens that describe the person: residual cross-attention.

Axis letters: b batch, l positions, t tokens, c channels, d width of a token.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

HEADS = 4


class ContextAttention(nn.Module):
    """``x + gate * attention(x, tokens)``; nothing at first, since the last layer starts at zero.

    A residual may be ignored, unlike the transfer of features: the context tells who it is, not what to draw where.

    Args:
        channels (int): channels of the module's output.
        dim (int): width of a token; a multiple of 4.
        layout (str): axes of the module's output: 'b (l c)' (style codes), 'b l c', 'l b c' or 'b c h w'.
    """

    def __init__(self, channels: int, dim: int, layout: str) -> None:
        super().__init__()
        self.channels, self.layout = channels, layout
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, tokens: Tensor, gate: Tensor) -> Tensor:
        """Conditions one output.

        Args:
            x (Tensor): the output, axes as ``layout`` says.
            tokens (Tensor): (b, t, d).
            gate (Tensor): (b,), in [0, 1].

        Returns:
            Tensor: the shape of ``x``; equal to it bit for bit where ``gate`` is 0.
        """
        inside = 'b (h w) c' if 'h' in self.layout else 'b l c'
        sizes = {'c': self.channels} | ({'h': x.shape[2]} if 'h' in self.layout else {})
        q = self.query(self.norm(rearrange(x, f'{self.layout} -> {inside}', **sizes)))
        k, v = self.key_value(tokens).chunk(2, -1)
        q, k, v = (rearrange(z, 'b l (n d) -> b n l d', n=HEADS) for z in (q, k, v))
        y = self.out(rearrange(F.scaled_dot_product_attention(q, k, v), 'b n l d -> b l (n d)'))
        return x + rearrange(gate[:, None, None] * y, f'{inside} -> {self.layout}', **sizes)
