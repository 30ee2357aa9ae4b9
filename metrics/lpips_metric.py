"""LPIPS as a BasicSR metric."""

from functools import lru_cache

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import nn

from refstar.lpips_network import load_lpips
from refstar.utils.image_files import from_basicsr, require_same_shape


@lru_cache(maxsize=4)
def lpips_network(net: str, weights: str | None, device: str) -> nn.Module:
    """One network per net, file and device in this process."""
    return load_lpips(net, weights).to(device)


@METRIC_REGISTRY.register()
@torch.no_grad()
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    net: str = 'squeeze',
    weights: str | None = None,
    crop_border: int = 0,
    input_order: str = 'HWC',
    device: str = 'cpu',
    **kwargs,
) -> float:
    """LPIPS distance (lower is better). Name the net with every figure: the nets' values are not comparable.

    Args:
        img (ndarray): uint8 HWC BGR in [0, 255].
        img2 (ndarray): the same.
        net (str): 'alex', 'vgg' or 'squeeze'. Default: 'squeeze'.
        weights (str): file of the ImageNet backbone, see :func:`~refstar.lpips_network.load_lpips`.
        crop_border (int): pixels to leave out along every edge. Default: 0.
        input_order (str): 'HWC' or 'CHW'. Default: 'HWC'.
        device (str): where to compute. Default: 'cpu'.

    Returns:
        float: 0 for equal images.

    Raises:
        RefStarError: no weights configured, or not the net's.
    """
    require_same_shape(img, img2)
    x, y = (from_basicsr(v, crop_border, input_order).to(device) for v in (img, img2))
    return lpips_network(net, weights, device)(x, y).item()
