"""Correspondence: which point of a reference shows what a point of the degraded photo shows.

A coarse attention over all positions gives a first estimate (soft-argmax). Small convolutions refine it: they compare
the features of both photos after a warp, and decide how far to follow the Lucas-Kanade step. Features of a reference do
not depend on the degraded photo, so that a reference bank can keep them. The design is this project's own.

Axis letters: b batch, n references, m = b * n, c channels, h w feature size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from . import lucas_kanade
from .layers import ResBlock, act, identity_grid, repeat_refs, split_refs, warp
from .person_check import Verdict

STRIDE = 4  # of the grid on which photos are compared
REFINEMENTS = 2
MIN_LOGIT = -40.0  # attention below exp(-40) becomes denormal in the backward pass, which is 50 times slower


class MatchEncoder(nn.Module):
    """Features for matching, at stride 4, with a receptive field of the whole photo."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 * STRIDE**2, channels, 3, padding=1)
        self.place = nn.Conv2d(2, channels, 1)
        self.body = nn.Sequential(*[ResBlock(channels, d) for d in (1, 2, 4, 1)])
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(m, 3, H, W) RGB in [-1, 1] -> (m, c, H/4, W/4)."""
        x = self.stem(F.pixel_unshuffle(x, STRIDE))
        x = x + self.place(identity_grid(*x.shape[-2:], x))
        return self.out(act(self.body(x)))


class Descriptor(nn.Module):
    """Descriptor of a cell: its place on a face (a learned map to common face coordinates) and its look.

    Face coordinates start as the position in the photo: an untrained network matches every cell with itself.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.place = nn.Conv2d(channels, 2, 1)
        self.look = nn.Conv2d(channels, channels, 1)
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        nn.init.zeros_(self.place.weight)
        nn.init.zeros_(self.place.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(m, c, h, w) -> face coordinates in cells (m, 2, h*w), scaled unit vectors (m, c, h*w)."""
        h, w = x.shape[-2:]
        place = (identity_grid(h, w, x) + self.place(x)) * (w / 2)
        return place.flatten(2), F.normalize(self.look(x).flatten(2), dim=1) * self.log_scale.exp()


def match_logits(query: tuple[Tensor, Tensor], key: tuple[Tensor, Tensor]) -> Tensor:
    """Compute ``look . look - |place - place|^2`` of all pairs of results of :class:`Descriptor`, as one product.

    Returns:
        Tensor: (m, h*w of the query, h*w of the key), at least ``MIN_LOGIT``.
    """
    (a, q), (b, k) = query, key
    a2, b2 = a.square().sum(1, keepdim=True), b.square().sum(1, keepdim=True)
    left = torch.cat([q, 2 * a, -a2, torch.ones_like(a2)], 1)
    logits = left.transpose(1, 2) @ torch.cat([k, b, torch.ones_like(b2), -b2], 1)
    return logits.clamp(min=MIN_LOGIT)


def mean_position(attention: Tensor, h: int, w: int) -> Tensor:
    """Average (x, y) in [-1, 1] under attention (m, q, h*w) -> (m, 2, q). By marginals: faster than a product."""
    attention = rearrange(attention, 'm q (h w) -> m q h w', h=h)
    grid = identity_grid(h, w, attention)[0]
    x, y = (attention.sum(2) * grid[0, 0]).sum(2), (attention.sum(3) * grid[1, :, 0]).sum(2)
    return torch.stack([x, y], 1)


class FlowRefiner(nn.Module):
    """Correct a flow by a few cells.

    The correction is the sum of a learned offset and a learned share of the steps of :mod:`lucas_kanade`. Those steps
    need no learning, but know nothing of light and expressions.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        axes = 2 * len(lucas_kanade.WINDOWS)
        self.inp = nn.Conv2d(2 * channels + 3 + axes, hidden, 3, padding=1)
        self.body = nn.Sequential(ResBlock(hidden, 1), ResBlock(hidden, 2))
        self.out = nn.Conv2d(hidden, 2, 3, padding=1)
        self.share = nn.Conv2d(hidden, axes, 1)
        for conv in (self.out, self.share):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)
        nn.init.constant_(self.share.bias, -1.0)

    def forward(self, query: Tensor, key: Tensor, flow: Tensor, confidence: Tensor, steps: Tensor) -> Tensor:
        """Refine a flow (m, 2, h, w) by features of both photos, (m, c, h, w), and steps (m, 2 * windows, h, w).

        ``confidence`` is the largest attention weight, (m, 1, h, w); steps are those of :func:`lucas_kanade.steps`.
        """
        h, w = query.shape[-2:]
        offset = flow - identity_grid(h, w, flow)
        x = torch.cat([query, warp(key, flow), 4 * offset, confidence, steps], 1)
        x = act(self.body(self.inp(x)))
        followed = rearrange(self.share(x).sigmoid() * steps, 'm (k d) h w -> m k d h w', d=2).sum(1)
        return flow + (self.out(x) + followed) * (2 / w)


@dataclass
class Match:
    """Correspondence between degraded photos and their references.

    Attributes:
        logits (Tensor): coarse attention before the softmax, (b, n, h*w of the LQ, h*w of the reference).
        flows (list[Tensor]): sampling positions in the reference for the LQ grid, coarse to fine, each (b, n, 2, h, w).
        mass (Tensor): log of the attention mass of each reference at each LQ position, (b, n, 1, h, w).
        back (Tensor): coarse sampling positions in the LQ for the reference grid, (b, n, 2, h, w).
        back_confidence (Tensor): largest reverse attention weight, (b, n, 1, h, w).
        person (Verdict | None): which references show another person, see :mod:`~refstar.person_check`.
    """

    logits: Tensor
    flows: list[Tensor]
    mass: Tensor
    back: Tensor
    back_confidence: Tensor
    person: Verdict | None = None

    @property
    def flow(self) -> Tensor:
        """The finest flow, (b, n, 2, h, w)."""
        return self.flows[-1]


class Matcher(nn.Module):
    """Match features of :class:`MatchEncoder` by attention and refinement, which may see the Lucas-Kanade steps."""

    full_precision = True  # in mixed precision too: positions in a photo need more than the 8 bits of bfloat16

    def __init__(self, channels: int, photometric: bool) -> None:
        super().__init__()
        self.photometric = photometric
        self.query = Descriptor(channels)
        self.key = Descriptor(channels)
        self.refine = FlowRefiner(channels, channels)

    def forward(self, lq: Tensor, ref: Tensor, lq_image: Tensor, ref_image: Tensor) -> Match:
        """Match b photos with n references each.

        Args:
            lq (Tensor): features of the degraded photos, (b, c, h, w).
            ref (Tensor): features of their references, (b, n, c, h, w).
            lq_image (Tensor): the degraded photos, (b, 3, H, W), RGB in [-1, 1].
            ref_image (Tensor): their references, (b, n, 3, H, W).
        """
        n, (h, w) = ref.shape[1], lq.shape[-2:]
        lq, ref = repeat_refs(lq, n), ref.flatten(0, 1)
        logits = match_logits(self.query(lq), self.key(ref))
        attention, reverse = logits.softmax(2), logits.transpose(1, 2).softmax(2)

        def grid(x: Tensor) -> Tensor:
            return rearrange(x, 'm d (h w) -> m d h w', h=h)

        flow, back = (grid(mean_position(a, h, w)) for a in (attention, reverse))
        confidence, back_confidence = (grid(a.amax(2)[:, None]) for a in (attention, reverse))
        mass = grid(logits.logsumexp(2)[:, None])

        steps, flows = self.photometric_steps(lq_image, ref_image), [flow]
        for _ in range(REFINEMENTS):
            flows.append(self.refine(lq, ref, flows[-1], confidence, steps(flows[-1])))
        flows = [split_refs(f, n) for f in flows]
        return Match(split_refs(logits, n), flows, *(split_refs(x, n) for x in (mass, back, back_confidence)))

    @torch.no_grad()
    def photometric_steps(self, lq_image: Tensor, ref_image: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function of a flow: the Lucas-Kanade steps from it, or zeros."""
        if not self.photometric:
            return lambda flow: torch.zeros_like(flow).repeat(1, len(lucas_kanade.WINDOWS), 1, 1)
        seen = repeat_refs(lucas_kanade.contrast(lq_image), ref_image.shape[1])
        shown = lucas_kanade.contrast(ref_image.flatten(0, 1))
        return lambda flow: lucas_kanade.steps(seen, shown, flow)
