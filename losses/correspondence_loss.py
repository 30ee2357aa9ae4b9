"""Loss of a correspondence: which point of a reference shows what a point of the photo shows.

Positions are (x, y) in [-1, 1], `grid_sample(align_corners=False)`.

Axis letters: b batch, n references, m = b * n, q k positions of the photo and of the reference on the coarse grid,
h w feature size, H W image size.
"""

import math

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from einops import rearrange
from torch import Tensor, nn

from refstar.layers import identity_grid
from refstar.utils.errors import RefStarError

from .masked import masked_mean, only

CHARBONNIER = 1e-3  # of the image side: below it the end-point error counts as a square


def shrink_flow(flow: Tensor, valid: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Average the true *displacement* of the known pixels of each cell of a coarser grid.

    Flow (m, 2, H, W) and validity (m, 1, H, W), 0 or 1, become flow (m, 2, h, w) and known (m, h, w) bool: cells of
    which at least half is known and which point into the reference. A mean of positions would be biased to the known
    part of a partly known cell.
    """
    offset = (flow - identity_grid(*flow.shape[-2:], flow)) * valid
    share = F.interpolate(valid, size, mode='area')
    offset = F.interpolate(offset, size, mode='area') / share.clamp_min(1e-6)
    flow = offset + identity_grid(*size, flow)
    return flow, (share[:, 0] >= 0.5) & (flow.abs().amax(1) <= 1)


def nearest_keys(position: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Find the four cells of a grid (h, w) around positions (m, 2) in [-1, 1].

    Returns:
        tuple: indices into h*w, (m, 4) long, and bilinear weights (m, 4) that sum to 1.
    """
    (y, wy), (x, wx) = (_neighbours(p, side) for p, side in zip(position.flip(1).unbind(1), size, strict=True))
    index = y[:, :, None] * size[1] + x[:, None, :]
    return index.flatten(1), (wy[:, :, None] * wx[:, None, :]).flatten(1)


def _neighbours(position: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Find the lower and the upper cell on one axis, (m,), and their linear weights, (m, 2) each."""
    cell = ((position + 1) * side / 2 - 0.5).clamp(0, side - 1)
    low = cell.floor()
    part = cell - low
    return torch.stack([low, (low + 1).clamp_max(side - 1)], 1).long(), torch.stack([1 - part, part], 1)


@LOSS_REGISTRY.register()
class CorrespondenceLoss(nn.Module):
    """Direct supervision of a correspondence where its truth is known.

    ``match``: Kullback-Leibler divergence of the attention over one reference from the true match, spread bilinearly
    over the four nearest keys: a cross-entropy that is 0 at the optimum. ``flow``: Charbonnier end-point error of every
    predicted flow, in units of the image side (0.01 is 1.28 px at 128 px).

    Args:
        loss_weight (float): factor on both terms. Default: 1.
        match_weight (float): factor of the attention's term. Default: 1.
        flow_weight (float): factor of the end-point error. Default: 10.
    """

    def __init__(self, loss_weight: float = 1.0, match_weight: float = 1.0, flow_weight: float = 10.0) -> None:
        super().__init__()
        self.match_weight, self.flow_weight = loss_weight * match_weight, loss_weight * flow_weight

    def forward(self, logits: Tensor, flows: list[Tensor], flow: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Compare a correspondence with its truth.

        Args:
            logits (Tensor): attention before the softmax and before any masking, shape (b, n, q, k), both grids square.
            flows (list[Tensor]): predicted positions, each (b, n, 2, h, w), any resolutions.
            flow (Tensor): true positions, shape (b, n, 2, H, W).
            valid (Tensor): 0 or 1, shape (b, n, 1, H, W): where the truth is known; 0 for padding.

        Returns:
            dict: ``match`` and ``flow``, weighted scalars; 0 (with a graph) if nothing is known.
        """
        flow, valid = flow.flatten(0, 1).float(), valid.flatten(0, 1).float()
        return {
            'match': self.match_weight * self.match(logits.flatten(0, 1), flow, valid),
            'flow': self.flow_weight * sum(self.end_point(f.flatten(0, 1), flow, valid) for f in flows) / len(flows),
        }

    @staticmethod
    def match(logits: Tensor, flow: Tensor, valid: Tensor) -> Tensor:
        """Average the divergence over the queries with a known match; ``logits`` (m, q, k)."""
        sides = [math.isqrt(s) for s in logits.shape[1:]]
        if [s * s for s in sides] != list(logits.shape[1:]):
            raise RefStarError(f'CorrespondenceLoss: attention of {tuple(logits.shape[1:])} is not on square grids')
        truth, known = shrink_flow(flow, valid, (sides[0], sides[0]))
        known = known.flatten()  # the content of padding has no influence
        logits, truth = logits.flatten(0, 1), rearrange(truth, 'm d h w -> (m h w) d')
        index, weight = nearest_keys(only(truth, known), (sides[1], sides[1]))
        log_p = only(logits, known).float().log_softmax(1).gather(1, index)
        return masked_mean((torch.xlogy(weight, weight) - weight * log_p).sum(1), known)

    @staticmethod
    def end_point(pred: Tensor, flow: Tensor, valid: Tensor) -> Tensor:
        """Average the error over the known cells of the grid of ``pred`` (m, 2, h, w), in image sides."""
        truth, known = shrink_flow(flow, valid, pred.shape[-2:])
        gap = only(rearrange(pred.float() - truth, 'm d h w -> m h w d'), known) / 2
        error = (gap.square().sum(-1) + CHARBONNIER**2).sqrt() - CHARBONNIER
        return masked_mean(error, known)
