"""Metrics of RefSel: overlap of selection masks, error of the correspondence."""

import math

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from refstar.utils.image_files import require_same_shape


@METRIC_REGISTRY.register()
def calculate_mask_iou(img: np.ndarray, img2: np.ndarray, threshold: float = 0.5, **kwargs) -> float:
    """Compute the intersection over union of two masks; 1 if both are empty: nothing of a stranger is to be selected.

    Args:
        img, img2 (ndarray): masks, shape (H, W) or (H, W, 1); uint8 in [0, 255], float in [0, 1], or bool.
        threshold (float): a pixel is selected from this share of the range on.
    """
    require_same_shape(img, img2)
    pred, true = (m >= threshold * (255 if m.dtype == np.uint8 else 1) for m in (img, img2))
    union = np.logical_or(pred, true).sum()
    return float(np.logical_and(pred, true).sum() / union) if union else 1.0


@METRIC_REGISTRY.register()
def calculate_flow_error(flow: np.ndarray, true_flow: np.ndarray, known: np.ndarray, **kwargs) -> float:
    """Compute the mean distance of predicted and true positions in pixels; NaN where none is known (end-point error).

    Args:
        flow, true_flow (ndarray): sampling positions, shape (2, H, W), (x, y) in [-1, 1] as for `grid_sample`.
        known (ndarray): shape (H, W), above 0 where the truth is known.
    """
    height, width = known.shape
    gap = (flow - true_flow) * np.array([width / 2, height / 2])[:, None, None]
    where = known > 0
    return float(np.hypot(*gap)[where].mean()) if where.any() else math.nan
