"""References under other light must not tint the result."""

import torch
import torch.nn.functional as F
from torch import Tensor

SHARE = 1 / 16  # standard deviation of the blur, of the side: what a degraded photo still shows truly is coarser


def keep_colour(out: Tensor, lq: Tensor, alpha: Tensor) -> Tensor:
    """Takes what is coarser than any degradation leaves from the degraded photo, where references were used.

    Args:
        out: restored faces, (b, 3, H, W).
        lq: degraded faces, the same shape and range.
        alpha: how much references were used, (b, 1, H, W) in [0, 1].

    Returns:
        Restored faces whose low frequencies are the photo's; equal to `out` where `alpha` is 0.
    """
    return out + alpha * blur(lq - out, SHARE * out.shape[-1])


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (b, c, H, W), mirrored at the border; worked at a coarser grid where sigma is large."""
    step = max(1, int(sigma // 3))
    small = F.avg_pool2d(x, step, ceil_mode=True, count_include_pad=False) if step > 1 else x
    sigma /= step
    radius = min(int(3 * sigma + 0.5), min(small.shape[-2:]) - 1)
    offset = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-offset.square() / (2 * max(sigma, 1e-3) ** 2))
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    small = F.pad(small, [radius] * 4, mode='reflect') if radius else small
    small = F.conv2d(small, kernel[:, :, None], groups=x.shape[1])
    small = F.conv2d(small, kernel[..., None], groups=x.shape[1])
    return F.interpolate(small, x.shape[-2:], mode='bilinear', align_corners=False) if step > 1 else small
