"""Loss of predicted selection masks."""

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from refstar.utils.errors import RefStarError

from .masked import masked_mean, only

# Probabilities are kept this far from 0 and 1: the smallest step that float32 can tell from 1 is 6e-8.
MARGIN = 1e-6


@LOSS_REGISTRY.register()
class SelectionLoss(nn.Module):
    """Binary cross-entropy + Dice between predicted and true selection masks.

    Dice is ``1 - 2 |P T| / (|P| + |T|)`` per mask. Where the truth is empty (a reference of another person), the
    overlap is 0 for any prediction and its gradient vanishes. For those masks the term is the mean of the prediction,
    which is 0 if and only if nothing is selected.

    Args:
        loss_weight (float): factor on both terms. Default: 1.
        bce_weight (float): factor of the cross-entropy. Default: 1.
        dice_weight (float): factor of Dice. Default: 1.
    """

    def __init__(self, loss_weight: float = 1.0, bce_weight: float = 1.0, dice_weight: float = 1.0) -> None:
        super().__init__()
        self.bce_weight, self.dice_weight = loss_weight * bce_weight, loss_weight * dice_weight

    def forward(
        self, pred: Tensor, target: Tensor, known: Tensor | None = None, logits: bool = False
    ) -> dict[str, Tensor]:
        """Compare masks.

        Args:
            pred (Tensor): shape (b, n, 1, H, W), probabilities in [0, 1], or logits.
            target (Tensor): truth in [0, 1], the same shape.
            known (Tensor | None): bool, shape (b, n): masks with a known truth and a valid reference.
                None: all.
            logits (bool): ``pred`` is before the sigmoid; exact also for saturated predictions. Default: False.

        Returns:
            dict: ``bce`` and ``dice``, weighted scalars; 0 (with a graph) if no mask is known.
        """
        if pred.shape != target.shape:
            raise RefStarError(f'SelectionLoss: prediction {tuple(pred.shape)} and truth {tuple(target.shape)} differ')
        if known is None:
            known = torch.ones(pred.shape[:2], dtype=torch.bool, device=pred.device)
        pred, target = (only(x, known).float().flatten(0, 1).flatten(1) for x in (pred, target))  # (masks, pixels)
        # Not F.binary_cross_entropy: autocast refuses it, and its gradient is lost at exactly 0 and 1.
        p = pred.sigmoid() if logits else pred.clamp(MARGIN, 1 - MARGIN)
        bce = F.binary_cross_entropy_with_logits(pred if logits else p.logit(), target, reduction='none').mean(1)
        overlap, area = (p * target).sum(1), target.sum(1)
        dice = torch.where(area > 0, 1 - 2 * overlap / (p.sum(1) + area).clamp_min(MARGIN), p.mean(1))
        bce, dice = (masked_mean(x, known.flatten()) for x in (bce, dice))
        return {'bce': self.bce_weight * bce, 'dice': self.dice_weight * dice}
