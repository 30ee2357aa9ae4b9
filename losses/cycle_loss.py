"""Reconstruction loss: what was taken from a reference must be restored in that reference.

The roles are swapped: the degraded reference is restored with our output as its reference. The model runs that second
pass; this loss compares its result. The form is this project's own.
"""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from refstar.utils.errors import RefStarError

from .lpips_loss import LPIPSLoss
from .masked import masked_mean


@LOSS_REGISTRY.register()
class CycleConsistencyLoss(nn.Module):
    """Mask-compatible cycle consistency: ``|M (rec - ref)|_1 / |M|``, and a perceptual term inside M.

    Only selected regions count: elsewhere output and reference may differ (another expression). The mask gets no
    gradient, or it would shrink to what is easy. For the perceptual term everything outside M is filled from the
    reference, so that the mask's outline is not in the images.

    Args:
        loss_weight (float): factor on both terms. Default: 1.
        perceptual (dict | None): arguments of :class:`LPIPSLoss`; its ``loss_weight`` is the factor of the term.
            Default: None, no perceptual term.
        min_area (float): |M| is taken to be at least this share of the image, so that a few selected pixels do not
            count like a face. Default: 0.05.
    """

    def __init__(self, loss_weight: float = 1.0, perceptual: dict | None = None, min_area: float = 0.05) -> None:
        super().__init__()
        self.loss_weight, self.min_area = loss_weight, min_area
        self.perceptual = LPIPSLoss(**perceptual) if perceptual else None

    def forward(self, rec: Tensor, ref: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Compare the reconstruction with the reference.

        Args:
            rec (Tensor): reconstructed references, shape (b, 3, H, W), RGB in [-1, 1].
            ref (Tensor): the clean references, the same shape; no gradient.
            mask (Tensor): selection M in [0, 1], shape (b, 1, H, W); all zero for padding and for references of
                another person. Samples without selection do not count.

        Returns:
            dict: ``pixel``, and ``percep`` if there is a perceptual term: weighted scalars, means over the samples with
            a selection; 0 (with a graph) if there is none.
        """
        if rec.shape != ref.shape or mask.shape != (len(rec), 1, *rec.shape[2:]):
            shapes = ', '.join(str(tuple(x.shape)) for x in (rec, ref, mask))
            raise RefStarError(f'CycleConsistencyLoss: shapes of rec, ref and mask do not fit: {shapes}')
        ref, mask = ref.detach(), mask.detach()
        area = mask.mean((1, 2, 3))
        used = area > 0
        rec, area = torch.where(used[:, None, None, None], rec, ref), area.clamp_min(self.min_area)
        pixel = (mask * (rec - ref).abs()).mean((1, 2, 3)) / area
        terms = {'pixel': self.loss_weight * masked_mean(pixel, used)}
        if self.perceptual is not None:
            distance = self.perceptual.distance(torch.lerp(ref, rec, mask), ref) / area
            terms['percep'] = self.loss_weight * self.perceptual.loss_weight * masked_mean(distance, used)
        return terms
