"""End-point error of a correspondence."""

import math

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY


@METRIC_REGISTRY.register()
def calculate_flow_error(flow: np.ndarray, true_flow: np.ndarray, known: np.ndarray, **kwargs) -> float:
    """Mean distance between predicted and true positions.

    Args:
        flow (ndarray): sampling positions, shape (2, H, W), (x, y) in [-1, 1] as for `grid_sample`.
        true_flow (ndarray): the same.
        known (ndarray): shape (H, W), above 0 where the truth is known.

    Returns:
        float: in pixels of the H x W image; NaN where nothing is known.
    """
    height, width = known.shape
    gap = (flow - true_flow) * np.array([width / 2, height / 2])[:, None, None]
    where = known > 0
    return float(np.hypot(*gap)[where].mean()) if where.any() else math.nan
