"""Where references enter the known backbones. For any other arch write ``taps`` in the option file.

A backbone is a row: registered name -> function from its built module and the image size to module paths.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .errors import RefStarError


def _stylegan_taps(net: nn.Module, size: int) -> list[str]:
    """The last style convolution of every resolution from size/8 to size/2 (at least 16): generator features."""
    log_sizes = range(max(4, int(math.log2(size)) - 3), int(math.log2(size)))
    return [f'stylegan_decoder.style_convs.{2 * (k - 3) + 1}' for k in log_sizes]


TAPS: dict[str, Callable[[nn.Module, int], list[str]]] = {
    'GFPGANv1Clean': _stylegan_taps,
    'RRDBNet': lambda net, size: ['conv_body', 'conv_up1', 'conv_up2'],
}


def default_taps(name: str, net: nn.Module, size: int) -> list[str]:
    """Module paths of a known backbone.

    Raises:
        RefStarError: the arch is not in the table.
    """
    if name not in TAPS:
        raise RefStarError(f'{name} has no default taps; write network_g.taps (known backbones: {", ".join(TAPS)})')
    return TAPS[name](net, size)


def measure_taps(net: nn.Module, taps: list[str], size: int) -> dict[str, tuple[int, int]]:
    """Channels and resolution of every tap, by one forward pass on the meta device (no memory, no arithmetic).

    Args:
        net (nn.Module): the backbone.
        taps (list[str]): module paths whose output is one feature map (1, c, r, r).
        size (int): image size.

    Returns:
        dict: tap -> (channels, resolution).

    Raises:
        RefStarError: a path is not in the network, or its output is not one feature map.
    """
    net, shapes = copy.deepcopy(net).to('meta').eval(), {}
    modules = dict(net.named_modules())
    for tap in taps:
        if tap not in modules:
            raise RefStarError(f'taps: {type(net).__name__} has no module {tap!r}; see named_modules() of the backbone')

        def measure(module: nn.Module, inputs: tuple, out: Any, tap: str = tap) -> None:
            shapes[tap] = getattr(out, 'shape', None)

        modules[tap].register_forward_hook(measure)
    with torch.no_grad():
        net(torch.empty(1, 3, size, size, device='meta'))
    for tap in taps:
        shape = shapes.get(tap)
        if shape is None or len(shape) != 4 or shape[2] != shape[3]:
            raise RefStarError(f'taps: the output of {tap!r} is not a square feature map (shape {shape})')
    return {tap: (shapes[tap][1], shapes[tap][2]) for tap in taps}
