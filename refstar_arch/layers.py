"""Building blocks shared by the networks of this package.

Axis letters: b batch, n references, c channels, h w feature size, H W image size.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn


class ResBlock(nn.Module):
    """Residual block ``x + conv(act(conv(act(x))))`` that keeps the shape (b, c, h, w)."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(act(self.conv1(act(x))))


def act(x: Tensor) -> Tensor:
    """Apply leaky ReLU with slope 0.2, the activation of every block here."""
    return F.leaky_relu(x, 0.2)


# ----------------------------------------------------------------- grids
def identity_grid(h: int, w: int, like: Tensor) -> Tensor:
    """Make the sampling positions that leave an image as it is, with dtype and device of ``like``: (1, 2, h, w).

    They are the (x, y) of every pixel centre in [-1, 1], the convention of ``grid_sample(align_corners=False)``.
    """
    x = (torch.arange(w, device=like.device, dtype=like.dtype) + 0.5) * (2 / w) - 1
    y = (torch.arange(h, device=like.device, dtype=like.dtype) + 0.5) * (2 / h) - 1
    return torch.stack([x[None].expand(h, w), y[:, None].expand(h, w)])[None]


def warp(x: Tensor, flow: Tensor, padding: str = 'border') -> Tensor:
    """Sample (b, c, h, w) at positions (b, 2, h', w'), (x, y) in [-1, 1]: (b, c, h', w').

    With gradients on a CPU, where the backward pass of ``grid_sample`` writes outside of its memory at positions that
    are not finite (a training that diverges), the samples at these are NaN.
    """
    if flow.device.type != 'cpu' or not torch.is_grad_enabled() or not (x.requires_grad or flow.requires_grad):
        return F.grid_sample(x, flow.permute(0, 2, 3, 1), padding_mode=padding, align_corners=False)
    known = flow.isfinite().all(1, keepdim=True)
    out = F.grid_sample(x, flow.where(known, 0).permute(0, 2, 3, 1), padding_mode=padding, align_corners=False)
    return out.where(known, torch.nan)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (b, c, h, w) to ``size``: area-averaged where it shrinks, else bilinear; the same tensor if it fits."""
    if x.shape[-2:] == tuple(size):
        return x
    h, w = x.shape[-2:]
    if h % size[0] == w % size[1] == 0:
        return F.avg_pool2d(x, (h // size[0], w // size[1]))  # half the time of 'area' on a CPU
    if h > size[0]:
        return F.interpolate(x, size, mode='area')
    return F.interpolate(x, size, mode='bilinear', align_corners=False)


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge (b, c, h, w) bilinearly. For 512 channels it takes a tenth of ``interpolate``'s time on a CPU."""
    if x.device.type != 'cpu':
        return resize(x, size)
    rows, columns = (
        F.interpolate(torch.eye(n, dtype=x.dtype)[None], m, mode='linear', align_corners=False)[0]
        for n, m in zip(x.shape[-2:], size, strict=True)
    )
    return rows.T @ (x @ columns)


# ----------------------------------------------------------------- the axis of references
def split_refs(x: Tensor, n: int) -> Tensor:
    """Split the batch axis: (b * n, ...) -> (b, n, ...)."""
    return rearrange(x, '(b n) ... -> b n ...', n=n)


def repeat_refs(x: Tensor, n: int) -> Tensor:
    """Repeat every photo for each of its n references: (b, c, h, w) -> (b * n, c, h, w)."""
    return repeat(x, 'b c h w -> (b n) c h w', n=n)  # repeat_interleave goes wrong in ONNX files


def resize_refs(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Apply :func:`resize` to (b, n, c, h, w)."""
    return split_refs(resize(x.flatten(0, 1), size), x.shape[1])


# ----------------------------------------------------------------- ranges of values
def to_range(x: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Map images in [-1, 1] to a network's range (black, white)."""
    low, high = value_range
    return x if (low, high) == (-1, 1) else (x + 1) * ((high - low) / 2) + low


def from_range(x: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Map images in a network's range (black, white) to [-1, 1]."""
    low, high = value_range
    return x if (low, high) == (-1, 1) else (x - low) * (2 / (high - low)) - 1
