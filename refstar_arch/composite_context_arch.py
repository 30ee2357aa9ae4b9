"""Composite context (after arXiv 2505.21905): a few tokens that describe the person, from the references.

Three sources: the identity embedding of a frozen face-recognition network, the general face tokens of any other frozen
network, and low-level tokens of a small network that learns with the rest. The number of tokens does not depend on the
number of references: tokens are averaged, each reference weighted by how much of it the selection uses.

Axis letters: b batch, n references, t tokens, l positions, c channels, d width of a token, H W image size.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from refstar.utils.archs import register_arch
from refstar.utils.errors import RefStarError

from .identity_arch import IdentityEncoder
from .layers import ResBlock, act, resize, split_refs

HEADS = 4  # of the attention
LOW_LEVEL_SIZE = 64  # pixels: size at which the low-level tokens see a reference
FULL_AREA = 0.1  # share of the photo: if so much is selected, the context counts in full


class LowLevelTokens(nn.Module):
    """Small convolutional network: colours, light and coarse shape on a grid of tokens; its side divides 16."""

    def __init__(self, channels: int, dim: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.stem = nn.Conv2d(3 * 16, channels, 3, padding=1)
        self.body = nn.Sequential(ResBlock(channels, 1), ResBlock(channels, 2))
        self.out = nn.Conv2d(channels, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(m, 3, H, W) RGB in [-1, 1] -> (m, grid^2, d)."""
        x = nn.functional.pixel_unshuffle(resize(x, (LOW_LEVEL_SIZE, LOW_LEVEL_SIZE)), 4)
        x = nn.functional.adaptive_avg_pool2d(act(self.body(self.stem(x))), self.grid)
        return self.out(x).flatten(2).transpose(1, 2)


@register_arch
class CompositeContext(nn.Module):
    """Tokens of the references that condition a backbone, see :class:`ContextAttention`.

    Args:
        dim (int): width of a token. Default: 256.
        identity (dict | None): arguments of :class:`IdentityEncoder`: one token. None: none.
        face (dict | None): arguments of :class:`IdentityEncoder` for a second frozen network, whose outputs (m, d) or
            (m, t, d) are the general face tokens. None: none.
        channels (int): width of the low-level network. Default: 32.
        grid (int): low-level tokens along a side. Default: 4.
        drop (float): share of the photos that get no tokens in training. Default: 0.
    """

    option_blocks = {'identity': IdentityEncoder, 'face': IdentityEncoder}

    def __init__(
        self,
        dim: int = 256,
        identity: dict | None = None,
        face: dict | None = None,
        channels: int = 32,
        grid: int = 4,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % HEADS:
            raise RefStarError(f'CompositeContext: dim must be a multiple of {HEADS}, got {dim}')
        if not 0 <= drop <= 1:
            raise RefStarError(f'CompositeContext: drop is {drop}; it is a share, 0 to 1')
        self.dim, self.drop = dim, drop
        self.frozen = nn.ModuleDict(
            {name: IdentityEncoder(**block) for name, block in (('identity', identity), ('face', face)) if block}
        )
        self.project = nn.ModuleDict({name: nn.LazyLinear(dim) for name in self.frozen})
        self.low = LowLevelTokens(channels, dim, grid)
        with torch.no_grad():
            counts = [grid**2]
            for name, net in self.frozen.items():
                counts.append(self.project_tokens(name, probe(name, net)).shape[1])
        self.place = nn.Parameter(0.02 * torch.randn(sum(counts), dim))

    def project_tokens(self, name: str, found: Tensor) -> Tensor:
        """Project the output of one frozen network, (m, c) or (m, t, c), to tokens (m, t, d)."""
        return self.project[name](found if found.ndim == 3 else found[:, None])

    def forward(self, refs: Tensor) -> Tensor:
        """Encode references (b, n, 3, H, W), RGB in [-1, 1], as tokens (b, n, t, d)."""
        x = refs.flatten(0, 1)
        with torch.no_grad():
            found = {name: net(x) for name, net in self.frozen.items()}
        tokens = [self.project_tokens(name, out) for name, out in found.items()]
        return split_refs(torch.cat([*tokens, self.low(x)], 1) + self.place, refs.shape[1])

    def summarise(self, tokens: Iterable[Tensor], mask: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Average the tokens of all references of a person.

        Args:
            tokens (Iterable[Tensor]): of :meth:`forward`, in one or more parts along n.
            mask (Tensor): selection of each reference, (b, n, 1, H, W); 0 for padding.
            alpha (Tensor): selection in LQ coordinates, (b, 1, H, W).

        Returns:
            tuple: tokens (b, t, d), and their gate, (b,) in [0, 1]: 0 if nothing is selected.
        """
        amount = mask.flatten(2).mean(2)
        weight = amount / amount.sum(1, keepdim=True).clamp_min(1e-6)
        summary, start = 0, 0
        for part in tokens:
            share = weight[:, start : start + part.shape[1]]
            start += part.shape[1]
            summary = summary + torch.einsum('bn,bntd->btd', share, part)
        gate = (alpha.flatten(1).mean(1) / FULL_AREA).clamp_max(1)
        if self.training and self.drop:
            gate = gate * (torch.rand_like(gate) >= self.drop)
        return summary, gate


def probe(name: str, net: IdentityEncoder) -> Tensor:
    """Run a frozen network on two grey faces.

    Raises:
        RefStarError: names its file: it cannot be run, or gives neither (m, d) nor (m, t, d) for m faces.
    """
    where = f'CompositeContext: {name}: {net.weights}'
    try:
        found = net(torch.zeros(2, 3, 128, 128))
    except Exception as error:  # whatever a network by its file may raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise RefStarError(f'{where} does not run on two faces as prepared (key prepare): {reason}') from error
    if found.ndim not in (2, 3) or len(found) != 2:
        raise RefStarError(f'{where} gives shape {tuple(found.shape)} for two faces; expected (2, d) or (2, t, d)')
    return found


class ContextAttention(nn.Module):
    """Condition a module of the backbone by tokens: ``x + gate * attention(x, tokens)``.

    Without training it changes nothing: the last layer starts at zero. A residual may be ignored, unlike the transfer
    of features: the context tells who the person is, not what to draw where.

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
        """Condition one output.

        Args:
            x (Tensor): the output, axes as in ``layout``.
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
