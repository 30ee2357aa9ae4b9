"""A GPU that is not there: its tensors have shapes and types, but neither memory nor values.

As on a real one, mixing host and device is an error. So is every read of a value, for which a real one is waited for.
The backward pass and fused optimizers cannot run so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Types(TorchDispatchMode):
    """Notes the types of the tensors that are made on the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        outs = [out] if isinstance(out, Tensor) else tree_leaves(out)
        self.seen.update(x.dtype for x in outs if isinstance(x, Tensor) and x.is_cuda)
        return out


@contextmanager
def fake_gpu() -> Iterator[Types]:
    """While open, `.to('cuda')` works and every computation is of shapes alone."""
    state = torch.get_rng_state()
    with (
        mock.patch.multiple(torch.cuda, get_rng_state=lambda *args: state, set_rng_state=lambda *args: None),
        mock.patch.object(Tensor, 'pin_memory', lambda x: x),
        mock.patch.object(torch.utils, 'swap_tensors', lambda old, new: None),  # a module in two places moves once
        torch.jit.optimized_execution(False),  # scripts would be compiled for the device
        FakeTensorMode(allow_non_fake_inputs=True),
        Types() as types,
    ):
        yield types


def devices(value: Any) -> set[str]:
    """Kinds of device of all tensors in lists, tuples and dicts."""
    return {x.device.type for x in tree_leaves(value) if isinstance(x, Tensor)}
