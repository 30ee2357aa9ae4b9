"""BasicSR's images (uint8, HWC, BGR) as tensors."""

import numpy as np
import torch
from torch import Tensor

from refstar.utils.errors import RefStarError


def to_tensor(img: np.ndarray, crop_border: int = 0, input_order: str = 'HWC') -> Tensor:
    """Makes a batch of one of an image.

    Args:
        img (ndarray): shape (H, W, 3), or (3, H, W) with input_order 'CHW'; BGR in [0, 255].
        crop_border (int): pixels to leave out along every edge. Default: 0.
        input_order (str): 'HWC' or 'CHW'. Default: 'HWC'.

    Returns:
        Tensor: shape (1, 3, H, W), RGB float32 in [-1, 1].
    """
    if input_order not in ('HWC', 'CHW'):
        raise RefStarError(f"metric: input_order is {input_order!r}; it must be 'HWC' or 'CHW'")
    if input_order == 'CHW':
        img = img.transpose(1, 2, 0)
    if img.ndim != 3 or img.shape[2] != 3:
        raise RefStarError(f'metric: expected a colour image (H, W, 3), got shape {img.shape}')
    h, w = img.shape[:2]
    img = img[crop_border : h - crop_border, crop_border : w - crop_border, ::-1]
    return torch.from_numpy(img.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


def same_shape(img: np.ndarray, img2: np.ndarray) -> None:
    """Raises RefStarError if the two images differ in shape."""
    if img.shape != img2.shape:
        raise RefStarError(f'metric: images differ in shape: {img.shape} and {img2.shape}')
