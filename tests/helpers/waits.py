"""Sees, without a GPU, what would make the host wait for one."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

READS = {'item', 'tolist', 'numpy', 'nonzero', 'masked_select', '__bool__', '__int__', '__float__', '__index__'}
MAKES = {'tensor', 'as_tensor', 'new_tensor'}  # of Python numbers


class Waits(TorchFunctionMode):
    """Counts reads of a tensor's values, and blocking copies of values to another device.

    The second is seen only on a device that is not the CPU: `meta`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, name = kwargs or {}, func.__name__
        keys = args[1] if name == '__getitem__' else ()
        masks = [key for key in (keys if isinstance(keys, tuple) else (keys,)) if isinstance(key, Tensor)]
        self.count += name in READS or any(mask.dtype == torch.bool for mask in masks)
        out = func(*args, **kwargs)
        if isinstance(out, Tensor) and not kwargs.get('non_blocking'):
            source = args[0].device.type if args and isinstance(args[0], Tensor) and name not in MAKES else 'cpu'
            moves = name in MAKES or name in ('to', 'cuda', 'type_as')
            self.count += moves and out.device.type != source
        return out
