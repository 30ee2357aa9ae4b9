"""Composite context (after arXiv 2505.21905): what the references say of a person as a whole, as a few tokens.

Three sources: the identity embedding of a frozen face-recognition network, the general face tokens of any other frozen
network, and low-level tokens of a small network that learns with the rest. The number of tokens does not depend on the
number of references: theirs are averaged, each weighted by how much of it the selection uses.

Axis letters: b batch, n references, t tokens, d width of a token, H W image size.
"""

from collections.abc import Iterable

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from refstar.utils.errors import RefStarError

from .context_attention import HEADS
from .identity_arch import IdentityEncoder
from .layers import ResBlock, act, resize, with_slots

LOOK = 64  # pixels: size at which the low-level tokens see a reference
ENOUGH = 0.1  # of the photo selected: the context counts in full


class LowLevelTokens(nn.Module):
    """A small convolutional network: colours, light and coarse shape, on a grid of tokens.

    Args:
        channels (int): width.
        dim (int): width of a token.
        grid (int): tokens along a side; divides 16.
    """

    def __init__(self, channels: int, dim: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.stem = nn.Conv2d(3 * 16, channels, 3, padding=1)
        self.body = nn.Sequential(ResBlock(channels, 1), ResBlock(channels, 2))
        self.out = nn.Conv2d(channels, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(m, 3, H, W) RGB in [-1, 1] -> (m, grid^2, d)."""
        x = nn.functional.pixel_unshuffle(resize(x, (LOOK, LOOK)), 4)
        x = nn.functional.adaptive_avg_pool2d(act(self.body(self.stem(x))), self.grid)
        return self.out(x).flatten(2).transpose(1, 2)


@ARCH_REGISTRY.register()
class CompositeContext(nn.Module):
    """References -> tokens that condition a backbone, see :class:`~refstar.context_attention.ContextAttention`.

    Args:
        dim (int): width of a token. Default: 256.
        identity (dict | None): arguments of :class:`IdentityEncoder`: one token. None: none.
        face (dict | None): arguments of :class:`IdentityEncoder` for a second frozen network, whose outputs (m, d) or
            (m, t, d) are the general face tokens. None: none.
        channels (int): width of the low-level network. Default: 32.
        grid (int): low-level tokens along a side. Default: 4.
    """

    option_blocks = {'identity': IdentityEncoder, 'face': IdentityEncoder}

    def __init__(
        self,
        dim: int = 256,
        identity: dict | None = None,
        face: dict | None = None,
        channels: int = 32,
        grid: int = 4,
    ) -> None:
        super().__init__()
        if dim % HEADS:
            raise RefStarError(f'CompositeContext: dim must be a multiple of {HEADS}, got {dim}')
        self.dim = dim
        self.frozen = nn.ModuleDict(
            {name: IdentityEncoder(**block) for name, block in (('identity', identity), ('face', face)) if block}
        )
        self.project = nn.ModuleDict({name: nn.LazyLinear(dim) for name in self.frozen})
        self.low = LowLevelTokens(channels, dim, grid)
        with torch.no_grad():
            counts = [grid**2]
            for name, net in self.frozen.items():
                counts.append(self.tokens_of(name, probe(name, net)).shape[1])
        self.place = nn.Parameter(0.02 * torch.randn(sum(counts), dim))

    def tokens_of(self, name: str, found: Tensor) -> Tensor:
        """Output of one frozen network, (m, c) or (m, t, c) -> (m, t, d)."""
        return self.project[name](found if found.ndim == 3 else found[:, None])

    def forward(self, refs: Tensor) -> Tensor:
        """References (b, n, 3, H, W), RGB in [-1, 1] -> tokens (b, n, t, d)."""
        x = refs.flatten(0, 1)
        with torch.no_grad():
            found = {name: net(x) for name, net in self.frozen.items()}
        tokens = [self.tokens_of(name, out) for name, out in found.items()]
        return with_slots(torch.cat([*tokens, self.low(x)], 1) + self.place, refs.shape[1])

    def summarise(self, tokens: Iterable[Tensor], mask: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """One set of tokens for all references of a person.

        Args:
            tokens (Iterable[Tensor]): of :meth:`forward`, in one or more parts along n.
            mask (Tensor): selection of each reference, (b, n, 1, H, W); 0 for padding slots.
            alpha (Tensor): selection in LQ coordinates, (b, 1, H, W).

        Returns:
            tuple: tokens (b, t, d), and how much they count, (b,): 0 if nothing is selected.
        """
        amount = mask.flatten(2).mean(2)
        weight = amount / amount.sum(1, keepdim=True).clamp_min(1e-6)
        summary, start = 0, 0
        for part in tokens:
            share = weight[:, start : start + part.shape[1]]
            start += part.shape[1]
            summary = summary + torch.einsum('bn,bntd->btd', share, part)
        return summary, (alpha.flatten(1).mean(1) / ENOUGH).clamp_max(1)


def probe(name: str, net: IdentityEncoder) -> Tensor:
    """Output of a frozen network for two grey faces.

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
