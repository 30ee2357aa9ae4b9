"""Perceptual loss by LPIPS."""

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
        shift (int): both images are cut by a random number of pixels below this at the top and on the left. The
            backbones' strides reward dots on a grid; on a grid that moves they are no use. Default: 1, not at all.
    """

    def __init__(
        self, weights: str, net: str = 'squeeze', loss_weight: float = 1.0, size: int | None = None, shift: int = 1
    ) -> None:
        super().__init__()
        self.net, self.loss_weight, self.size, self.shift = net, loss_weight, size, shift
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
        if self.shift > 1:
            top, left = torch.randint(self.shift, (2,)).tolist()
            pred, target = (x[..., top:, left:] for x in (pred, target))
        pred, target = (x.contiguous(memory_format=torch.channels_last) for x in (pred, target.detach()))
        return self.model(pred, target).flatten()
