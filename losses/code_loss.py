"""Loss of predicted codes (CodeFormer's stages II and III).

Axis letters: b batch, k codes in the book, c channels, h w size of the grid of codes.
"""

import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn


@LOSS_REGISTRY.register()
class CodePredictionLoss(nn.Module):
    """Cross-entropy of the codes, and squared distance of the features to the vectors of the true codes.

    Args:
        entropy_weight (float): factor of the cross-entropy. Default: 0.5, CodeFormer's.
        feature_weight (float): factor of the distance. Default: 1, CodeFormer's.
    """

    def __init__(self, entropy_weight: float = 0.5, feature_weight: float = 1.0) -> None:
        super().__init__()
        self.entropy_weight, self.feature_weight = entropy_weight, feature_weight

    def forward(self, logits: Tensor, feature: Tensor, codes: Tensor, quantised: Tensor) -> dict[str, Tensor]:
        """Compare codes.

        Args:
            logits (Tensor): predicted, (b, h*w, k).
            feature (Tensor): of the degraded photo before the transformer, (b, c, h, w).
            codes (Tensor): those of the ground truth, (b, h*w), whole numbers.
            quantised (Tensor): their vectors, (b, c, h, w).

        Returns:
            dict: ``entropy`` and ``feature``, weighted scalars.
        """
        return {
            'entropy': self.entropy_weight * F.cross_entropy(logits.transpose(1, 2), codes),
            'feature': self.feature_weight * F.mse_loss(feature, quantised),
        }
