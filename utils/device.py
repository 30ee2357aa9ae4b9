"""Devices by name."""

import re

import torch

from .errors import RefStarError


def choose_device(name: str | None = None) -> str:
    """Check the name of a device; without a name, take `cuda` where there is one, else `cpu`.

    Args:
        name: cpu, cuda, cuda:1 ..., mps (Apple GPUs).

    Raises:
        RefStarError: another name, or torch has no such device here.
    """
    if not name:
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    if not re.fullmatch(r'cpu|mps|cuda(:\d+)?', name):
        raise RefStarError(f'--device {name}: must be cpu, cuda, cuda:1 ... or mps')
    if name.startswith('cuda') and int(name.partition(':')[2] or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        there = f'torch finds {count} GPUs here, counted from 0' if count else 'there is no GPU that torch can use'
        raise RefStarError(f'--device {name}: {there}; take cpu')
    if name == 'mps' and not torch.backends.mps.is_available():
        raise RefStarError('--device mps: torch finds no Apple GPU here; take cpu')
    return name
