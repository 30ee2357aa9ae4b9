"""Several processes, one set of weights, without ``DistributedDataParallel``.

A step here passes through a network two or three times (cycle, codes, discriminator) before one backward pass, and not
every pass uses every parameter. DDP allows that only in part. So every process has the plain network: the weights are
made alike once, the gradients averaged after each backward pass.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def share_weights(net: nn.Module) -> None:
    """Gives every process the parameters and buffers of the first one."""
    for tensor in [*net.parameters(), *net.buffers()]:
        distributed.broadcast(tensor.data, 0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the processes; one message. An unused parameter counts as 0.

    Args:
        parameters: the same ones, in the same order, in every process.
    """
    trained = [p for p in parameters if p.requires_grad]
    for p in trained:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    if trained:
        flat = torch.cat([p.grad.flatten() for p in trained])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        _scatter(flat, trained)


def _scatter(flat: Tensor, parameters: list[nn.Parameter]) -> None:
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad.copy_(part.view_as(p))
