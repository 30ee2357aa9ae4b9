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
    """Load a network; one per net, file and device is kept in this process."""
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
    """Compute the LPIPS distance: 0 for equal images. The values of different nets are not comparable.

    Args:
        img, img2 (ndarray): uint8 BGR in [0, 255].
        net (str): 'alex', 'vgg' or 'squeeze'.
        weights (str): file of the ImageNet backbone, see :func:`~refstar.lpips_network.load_lpips`.
        crop_border (int): pixels to leave out along every edge.
        input_order (str): of the images, 'HWC' or 'CHW'.

    Raises:
        RefStarError: no weights configured, or not the net's.
    """
    require_same_shape(img, img2)
    x, y = (from_basicsr(v, crop_border, input_order).to(device) for v in (img, img2))
    return lpips_network(net, weights, device)(x, y).item()
