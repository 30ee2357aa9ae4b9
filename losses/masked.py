"""Means over a part of a tensor without indexing by a mask, which would make the host wait for the device."""

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average `values` where `mask` (bool, the same shape) is set; 0, with a gradient of 0, if it is set nowhere.

    The other values must be finite too, or their gradient is not: see :func:`only`.
    """
    return only(values, mask).sum() / mask.sum().clamp_min(1)


def only(x: Tensor, mask: Tensor) -> Tensor:
    """Keep `x` where `mask` (bool, its leading axes) is set, else 0: NaN there reaches neither value nor gradient."""
    return torch.where(mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim)), x, 0)
