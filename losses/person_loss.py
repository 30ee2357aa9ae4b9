"""Loss of the decision whether a reference shows the person of the degraded photo.

Axis letters: b batch, n references, d length of an embedding.
"""

import torch
import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from .masked import masked_mean, only


@LOSS_REGISTRY.register()
class PersonLoss(nn.Module):
    """Cross-entropy of "the same person", and distance of the degraded photo's embedding to that of the clean photo.

    Args:
        loss_weight (float): factor on both terms. Default: 1.
        embedding_weight (float): factor of ``1 - cos``. Default: 1.
        stranger_weight (float): factor of the references of other people in the cross-entropy. Default: 1.
    """

    def __init__(self, loss_weight: float = 1.0, embedding_weight: float = 1.0, stranger_weight: float = 1.0) -> None:
        super().__init__()
        self.side_weights = (1.0, stranger_weight)
        self.weight, self.embedding_weight = loss_weight, loss_weight * embedding_weight

    def forward(self, logits: Tensor, same: Tensor, valid: Tensor, found: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Compare the predictions of a batch with the truth.

        Args:
            logits (Tensor): of "the same person", (b, n).
            same (Tensor): bool, (b, n), the truth.
            valid (Tensor): bool, (b, n); False for padding, which does not count.
            found, wanted (Tensor): unit embeddings of the degraded and of the clean photos, (b, d).

        Returns:
            dict: ``same`` and ``embedding``, weighted scalars. ``same`` is the mean over both classes, however rare
            one of them is.
        """
        loss = F.binary_cross_entropy_with_logits(only(logits, valid), same.to(logits), reduction='none')
        sides = [masked_mean(loss, valid & side) for side in (same, ~same)]
        distance = 1 - torch.einsum('bd,bd->b', found, wanted.detach()).mean()
        sides = [weight * side for weight, side in zip(self.side_weights, sides, strict=True)]
        return {'same': self.weight * sum(sides) / 2, 'embedding': self.embedding_weight * distance}
