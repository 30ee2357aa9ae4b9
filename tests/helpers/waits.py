"""Sees, without a GPU, what would make the host wait for one."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
VALUES = (aten._local_scalar_dense.default, aten.nonzero.default)  # .item(), if x:, x[mask]
PYTHON = aten.lift_fresh.default  # torch.tensor([1, 2], device=...), x.new_tensor(3)


class Waits(TorchDispatchMode):
    """Counts the times that a value of a tensor is asked for, and that values go to the device out of ordinary memory.

    The second is seen only on a device that is not the CPU: `meta`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        masks = [x for x in (args[1] if func is aten.index.Tensor else ()) if x is not None]
        waits = func in VALUES or any(mask.dtype == torch.bool for mask in masks)
        waits |= func is PYTHON and args[0].device.type != 'cpu'
        if func is aten._to_copy.default and not kwargs.get('non_blocking'):
            waits |= kwargs.get('device', args[0].device) != args[0].device
        self.count += waits
        return func(*args, **kwargs)
