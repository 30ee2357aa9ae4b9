"""Taps of the known backbones: where references enter. For any other arch write ``taps`` in the option file.

A backbone is a row of each table: registered name -> function of its built module (and the image size) to module paths.
"""

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from refstar.utils.errors import RefStarError


def _stylegan_taps(net: nn.Module, size: int) -> list[str]:
    """Take the last style convolution of every resolution from size/8 to size/2 (at least 16)."""
    log_sizes = range(max(4, int(math.log2(size)) - 3), int(math.log2(size)))
    return [f'stylegan_decoder.style_convs.{2 * (k - 3) + 1}' for k in log_sizes]


def _codeformer_taps(net: nn.Module, size: int) -> list[str]:
    """Take the last generator block at 64, 128 and 256: after ``w`` has mixed in the encoder's features."""
    blocks = net.generator.blocks
    last = [i - 1 for i, block in enumerate(blocks) if type(block).__name__ == 'Upsample']
    return [f'generator.blocks.{i}' for i in last[-3:]]


def _restoreformer_taps(net: nn.Module, size: int) -> list[str]:
    """Take the last residual block of every resolution from size/8 to size/2."""
    levels = range(min(3, net.decoder.num_resolutions - 1), 0, -1)
    return [f'decoder.up.{k}.block.{net.decoder.num_res_blocks}' for k in levels]


def _light_taps(net: nn.Module, size: int) -> list[str]:
    """Take the first convolution, that of every level on the way up, and the first of the finest octave."""
    return ['stem', *(f'merge.{i}' for i in range(len(net.merge))), *(['octave.stem'] if net.octave else [])]


def _swinir_taps(net: nn.Module, size: int) -> list[str]:
    """Take the features behind the trunk, and where the network enlarges, those at larger sizes."""
    larger = {'pixelshuffle': ['upsample'], 'nearest+conv': ['conv_up1', 'conv_up2']}
    return ['conv_after_body', *larger.get(net.upsampler, [])]


def _flow_contexts(net: nn.Module, size: int) -> list[str]:
    """Take the coarsest grid, and the next one on the way up."""
    last = len(net.velocity.decode) - 1
    return [f'velocity.encode.{last + 1}', *([f'velocity.decode.{last}'] if last >= 0 else [])]


# Outputs that are feature maps (b, c, r, r): the transfer mixes reference features into them.
TAPS: dict[str, Callable[[nn.Module, int], list[str]]] = {
    'GFPGANv1Clean': _stylegan_taps,
    'GFPGANBilinear': _stylegan_taps,
    'CodeFormer': _codeformer_taps,
    'RestoreFormer': _restoreformer_taps,
    'RRDBNet': lambda net, size: ['conv_body', 'conv_up1', 'conv_up2'],
    'SwinIR': _swinir_taps,
    'LightRestorer': _light_taps,
    'FlowRestorer': lambda net, size: [],
}

# Outputs of first convolutions, to which the references' own pixels are added as a further input. Others have none.
INPUTS: dict[str, Callable[[nn.Module, int], list[str]]] = {'FlowRestorer': lambda net, size: ['velocity.stem']}

# Outputs of any form that the composite context conditions: style codes, or the transformer's tokens.
CONTEXT_TAPS: dict[str, Callable[[nn.Module, int], list[str]]] = {
    'GFPGANv1Clean': lambda net, size: ['final_linear'],
    'GFPGANBilinear': lambda net, size: ['final_linear'],
    'CodeFormer': lambda net, size: [f'ft_layers.{i}' for i in range(0, net.n_layers, 3)],
    'RestoreFormer': lambda net, size: ['encoder.conv_out'],
    'RRDBNet': lambda net, size: ['conv_first'],
    'SwinIR': lambda net, size: ['patch_embed'],
    'LightRestorer': lambda net, size: [f'encode.{len(net.encode) - 1}'],
    'FlowRestorer': _flow_contexts,
}

# Arguments of backbones for results that are the same every time: StyleGAN's noise is that of its weights file, not
# drawn; images of lower levels are not made.
FIXED = {'randomize_noise': False, 'return_rgb': False}


def fixed_arguments(net: nn.Module) -> dict[str, bool]:
    """Return those of ``FIXED`` that a network's forward takes."""
    known = inspect.signature(net.forward).parameters
    return {name: value for name, value in FIXED.items() if name in known}


def chosen_taps(name: str, net: nn.Module, size: int, key: str, given: list[str] | None) -> list[str]:
    """Return the module paths that are given, or else those of a backbone by its registered name.

    Raises:
        RefStarError: the arch is not in the table of ``key``: 'taps', 'inputs' or 'context_taps'.
    """
    table = {'taps': TAPS, 'inputs': INPUTS, 'context_taps': CONTEXT_TAPS}[key]
    if given is not None:
        return given
    if name in table:
        return table[name](net, size)
    if key == 'inputs':
        return []
    raise RefStarError(f'{name} has no default {key}; write network_g.{key} (known backbones: {", ".join(table)})')


def _run(net: nn.Module, size: int) -> Any:
    """Run a copy of a network without arithmetic: on no photos of this side; on a meta device if it cannot do that.

    The first way is tried first because torch imports its compiler for the second, which takes two seconds.

    Raises:
        RefStarError: it does not take this size.
    """
    with torch.no_grad(), suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return net(torch.empty(0, 3, size, size))
    try:
        net.to('meta')
        with torch.no_grad(), torch.device('meta'):
            return net(torch.empty(1, 3, size, size))
    except Exception as error:  # whatever a user's forward may raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RefStarError(
            f'RefSTAR: {type(net).__name__} does not take photos of {size}x{size} pixels (network_g.size), or its '
            f'forward asks for values, which the measuring pass has not: {reason}'
        ) from error


def copy_to_measure(net: nn.Module, size: int) -> tuple[nn.Module, int]:
    """Copy a network, which makes images of the side ``size``; measure how much it enlarges photos.

    Returns:
        tuple: the copy, to be measured further, and how many times it enlarges.

    Raises:
        RefStarError: it makes images that are smaller, not square or larger by a fraction; or ``size`` is no multiple.
    """
    net = copy.deepcopy(net).eval()
    out = _run(net, size)
    image = out[0] if isinstance(out, (tuple, list)) and out else out
    if not isinstance(image, Tensor) or image.ndim != 4:
        return net, 1
    h, w = image.shape[-2:]
    if h != w or h % size:
        raise RefStarError(
            f'RefSTAR: {type(net).__name__} makes {w}x{h} pixels of a photo of {size}x{size}; a backbone must keep the '
            'size, or enlarge it a whole number of times'
        )
    scale = h // size
    if size % scale:
        raise RefStarError(
            f'RefSTAR: {type(net).__name__} enlarges photos {scale} times, but network_g.size, the side of its output, '
            f'is {size}; take a multiple of {scale}'
        )
    return net, scale


def _output_shapes(net: nn.Module, taps: list[str], size: int, key: str) -> list[tuple[int, ...] | None]:
    """Measure the output shapes of modules of a copy of a network, for photos (as many as :func:`_run` takes).

    Raises:
        RefStarError: no such module, or the network does not take the size.
    """
    shapes, modules = {}, dict(net.named_modules())
    for tap in taps:
        if tap not in modules:
            raise RefStarError(
                f'{key}: {type(net).__name__} has no module {tap!r}; see named_modules() of the backbone'
            )

    def measure(out: Any, tap: str) -> Any:
        shapes[tap] = tuple(getattr(out, 'shape', ())) or None
        return out

    with replaced_outputs(net, {tap: partial(measure, tap=tap) for tap in taps}):
        _run(net, size)
    return [shapes.get(tap) for tap in taps]


def measure_taps(net: nn.Module, taps: list[str], size: int) -> dict[str, tuple[int, int]]:
    """Measure (channels, resolution) of every tap of the transfer; its output is one feature map (b, c, r, r).

    The network is of :func:`copy_to_measure`; ``size`` is the side of the photo.

    Raises:
        RefStarError: a path is not in the network, or its output is not one feature map.
    """
    found = {}
    for tap, shape in zip(taps, _output_shapes(net, taps, size, 'taps'), strict=True):
        if shape is None or len(shape) != 4 or shape[2] != shape[3]:
            raise RefStarError(f'taps: the output of {tap!r} is not a square feature map (shape {shape})')
        found[tap] = (shape[1], shape[2])
    return found


def measure_context_taps(net: nn.Module, taps: list[str], size: int) -> list[tuple[int, str]]:
    """Measure channels and layout of every output that the composite context conditions, as :func:`measure_taps`.

    Outputs are style codes (b, l * c), where c is the network's ``num_style_feat`` (or all), sequences (b, l, c) or
    (l, b, c), or maps (b, c, h, w).

    Returns:
        list: (channels, axes as in :class:`~refstar.composite_context_arch.ContextAttention`).

    Raises:
        RefStarError: a path is not in the network, or its output is of another form.
    """
    found = []
    for tap, shape in zip(taps, _output_shapes(net, taps, size, 'context_taps'), strict=True):
        if shape is not None and len(shape) == 4:
            found.append((shape[1], 'b c h w'))
        elif shape is not None and len(shape) == 3 and min(shape[:2]) <= 1:
            found.append((shape[2], 'b l c' if shape[0] <= shape[1] else 'l b c'))
        elif shape is not None and len(shape) == 2:
            found.append((getattr(net, 'num_style_feat', shape[1]), 'b (l c)'))
        else:
            raise RefStarError(f'context_taps: the output of {tap!r} has no form that can be conditioned ({shape})')
    return found


@contextmanager
def replaced_outputs(net: nn.Module, functions: dict[str, Callable[[Any], Any]]) -> Iterator[None]:
    """Replace the outputs of modules, given by their paths, by functions of them while the context is open."""
    modules, handles = dict(net.named_modules()), []
    for name, change in functions.items():
        handles.append(modules[name].register_forward_hook(lambda m, inputs, out, change=change: change(out)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
