"""Means over a part of a tensor that the host need not know: indexing by a mask would make it wait for the device."""

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` (bool, the same shape) is set; 0, with a gradient of 0, if it is set nowhere.

    What is not set must be finite all the same, or its gradient is not: see :func:`only`.
    """
    return only(values, mask).sum() / mask.sum().clamp_min(1)


def only(x: Tensor, mask: Tensor) -> Tensor:
    """`x` where `mask` (bool, its leading axes) is set, 0 elsewhere: NaN there reaches neither value nor gradient."""
    return torch.where(mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim)), x, 0)
