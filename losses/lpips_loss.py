"""Perceptual loss by LPIPS."""

import random

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from refstar.layers import resize
from refstar.lpips_network import load_lpips


@LOSS_REGISTRY.register()
class LPIPSLoss(nn.Module):
    """LPIPS distance of two images, differentiable.

    Args:
        weights (str): file of the ImageNet backbone, see :func:`~refstar.lpips_network.load_lpips`.
        net (str): 'alex', 'vgg' or 'squeeze'. Default: 'squeeze'.
        loss_weight (float): factor. Default: 1.
        size (int | None): side to which images are resized first: enlarged where they are smaller (the backbones were
            trained at 224 pixels; at 64 their deepest features are 3 x 3), area-averaged where they are larger, which
            saves time. Default: None, as they are.
        augment (bool): mirror, transpose, scale (by 0.7 to 1.3) and cut both images at random, alike, before they are
            compared (after E-LPIPS, Kettunen et al., arXiv 1906.03973). The networks reward dots on their grid;
            on a grid that changes these are no use. Default: False.
    """

    def __init__(
        self,
        weights: str,
        net: str = 'squeeze',
        loss_weight: float = 1.0,
        size: int | None = None,
        augment: bool = False,
    ) -> None:
        super().__init__()
        self.net, self.loss_weight, self.size, self.augment = net, loss_weight, size, augment
        self.model = load_lpips(net, weights).to(memory_format=torch.channels_last)

    def forward(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare images.

        Args:
            pred (Tensor): shape (b, 3, H, W), RGB in [-1, 1].
            target (Tensor): the same shape; no gradient.

        Returns:
            dict: one weighted scalar, named by the net.
        """
        return {self.net: self.loss_weight * self.distance(pred, target).mean()}

    def distance(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compute the distances without the weight, shape (b,)."""
        if self.size is not None:
            pred, target = (resize(x, (self.size, self.size)) for x in (pred, target))
        if self.augment:
            pred, target = augment(pred, target)
        pred, target = (x.contiguous(memory_format=torch.channels_last) for x in (pred, target.detach()))
        return self.model(pred, target).flatten()


def augment(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror, transpose, scale (by 0.7 to 1.3) and cut (by up to 1/16) two batches, alike, at random."""
    both = torch.cat([pred, target])
    if random.random() < 0.5:
        both = both.flip(-1)
    if random.random() < 0.5:
        both = both.mT
    scale = random.uniform(0.7, 1.3)
    both = resize(both, [round(side * scale) for side in both.shape[-2:]])
    top, left = (random.randrange(max(side // 16, 1)) for side in both.shape[-2:])
    return both[..., top:, left:].chunk(2)
