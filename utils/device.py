"""Small tables that the host makes in every step, on their way to the device."""

import numpy as np
import torch
from torch import Tensor


def send(table: np.ndarray, device: torch.device) -> Tensor:
    """A tensor of these values on the device.

    `torch.tensor(..., device=...)` and `.to(device)` of ordinary memory wait until the GPU has done all that it was
    asked for so far; a copy from page-locked memory takes its place in the queue.
    """
    tensor = torch.from_numpy(table)
    if device.type == 'cuda':
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
