"""The degradation of the cycle pass, on the training device."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor


def degrade(x: Tensor, down: tuple[float, float] | list[float], noise: float = 0.05) -> Tensor:
    """Area down-sampling by a random factor, Gaussian noise, bilinear up-sampling.

    Lighter than the data set's degradation on purpose: the cycle asks whether reference content arrived, not whether
    JPEG is undone.

    Args:
        x (Tensor): clean images, shape (b, 3, H, W), RGB in [-1, 1].
        down: range of the factor, drawn once per call.
        noise (float): standard deviation of the noise, in units of x.

    Returns:
        Tensor: the same shape and range.
    """
    size = max(1, round(x.shape[-1] / random.uniform(*down)))
    small = F.interpolate(x, (size, size), mode='area')
    small = small + noise * torch.randn_like(small)
    return F.interpolate(small, x.shape[-2:], mode='bilinear', align_corners=False).clamp(-1, 1)
