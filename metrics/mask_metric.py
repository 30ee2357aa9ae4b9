"""Overlap of selection masks."""

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from refstar.utils.image_files import require_same_shape


@METRIC_REGISTRY.register()
def calculate_mask_iou(img: np.ndarray, img2: np.ndarray, threshold: float = 0.5, **kwargs) -> float:
    """Intersection over union of two masks.

    Args:
        img (ndarray): predicted mask, shape (H, W) or (H, W, 1); uint8 in [0, 255], float in [0, 1], or bool.
        img2 (ndarray): true mask, the same shape.
        threshold (float): a pixel is selected from this share of the range on. Default: 0.5.

    Returns:
        float: in [0, 1]; 1 if both are empty, so that selecting nothing of a stranger is right.
    """
    require_same_shape(img, img2)
    pred, true = (m >= threshold * (255 if m.dtype == np.uint8 else 1) for m in (img, img2))
    union = np.logical_or(pred, true).sum()
    return float(np.logical_and(pred, true).sum() / union) if union else 1.0
