"""8-bit pictures as tensors and back. RGB, [-1, 1] in tensors."""

import numpy as np
import torch
from torch import Tensor


def to_tensor(img: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) -> (3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(img.transpose(2, 0, 1))).float() / 127.5 - 1


def to_image(x: Tensor) -> np.ndarray:
    """(3, H, W) in [-1, 1] -> uint8 (H, W, 3)."""
    x = ((x.detach().float().clamp(-1, 1) + 1) * 127.5).round()
    return x.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
