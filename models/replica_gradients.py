"""Equal weights and averaged gradients in several processes, without ``DistributedDataParallel``.

A step here passes through a network two or three times (cycle, codes, discriminator) before one backward pass, and not
every pass uses every parameter. DDP allows that only in part. So every process has the plain network. Weights are
broadcast once; gradients are averaged after each backward pass.
"""

from collections.abc import Iterable

import torch
from torch import distributed, nn


def share_weights(net: nn.Module) -> None:
    """Broadcast the parameters and buffers of the first process."""
    for tensor in [*net.parameters(), *net.buffers()]:
        distributed.broadcast(tensor.data, 0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, in one message. An unused parameter counts as 0."""
    trained = [p for p in parameters if p.requires_grad]
    for p in trained:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    if trained:
        flat = torch.cat([p.grad.flatten() for p in trained])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        for p, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
            p.grad.copy_(part.view_as(p))
