"""A small RefSTAR for tests of network files."""

import torch
from basicsr.archs import build_network

from .networks import BACKBONES, SIZE, images, run


def options(weights: str | None = None, **more) -> dict:
    """Return a block `network_g`; with a person check where `weights` of MobileFaceNet are given."""
    refsel = {'size': 32, 'channels': 8}
    if weights:
        refsel['person'] = {'network': 'mobilefacenet', 'weights': weights}
    return {
        'type': 'RefSTAR',
        'size': SIZE,
        'backbone': BACKBONES['RRDBNet'],
        'ref_channels': 8,
        'refsel': refsel,
        **more,
    }


def network(block: dict, seed: int = 1) -> torch.nn.Module:
    """Build a network with random weights."""
    torch.manual_seed(seed)
    return build_network(block).eval()


def output(net: torch.nn.Module) -> torch.Tensor:
    """Restore one fixed image with two fixed references."""
    return run(net, images(1, seed=1), images(1, 2, seed=2))
