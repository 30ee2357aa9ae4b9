"""How networks are laid out and run: TF32, memory format, compilation, and what stays float32 in mixed precision.

A module with the class attribute ``full_precision = True`` stays float32.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from torch import Tensor, nn

from refstar.utils.errors import RefStarError, nearest

from .known_keys import option_keys


def networks(model: BaseModel) -> dict[str, nn.Module]:
    """The networks of a model without wrappers: {'g': net_g, 'g_ema': net_g_ema, 'd': net_d ...}."""
    named = {name: net for name, net in vars(model).items() if name.startswith('net_') and isinstance(net, nn.Module)}
    return {name.removeprefix('net_'): model.get_bare_model(net) for name, net in named.items()}


def trained_networks(model: BaseModel) -> dict[str, nn.Module]:
    """Those of them whose weights are trained."""
    return {
        name: net
        for name, net in networks(model).items()
        if not name.endswith('_ema') and any(p.requires_grad for p in net.parameters())
    }


def chosen(model: BaseModel, key: str) -> list[tuple[str, nn.Module]]:
    """The modules that an option of the block `train` names: `true`, or a list of networks and their modules.

    Raises:
        RefStarError: there is no such network or module.
    """
    trained, value = trained_networks(model), model.opt['train'].get(key)
    names = list(trained) if value is True else value or []
    modules = {f'{net}.{name}'.rstrip('.'): m for net in trained for name, m in trained[net].named_modules()}
    for name in names:
        if name not in modules:
            raise RefStarError(f'train:{key}: no network or module {name!r} is trained{nearest(name, modules)}')
    return [(name, modules[name]) for name in names]


def apply(model: BaseModel) -> None:
    """Applies the options of the block `train` to a model that has just been built for training."""
    train = model.opt['train']
    if train.get('tf32') is not None:
        torch.set_float32_matmul_precision('high' if train['tf32'] else 'highest')
        torch.backends.cudnn.allow_tf32 = train['tf32']
    for name, module in chosen(model, 'channels_last'):
        _to_channels_last(module)
        if name == 'g' and hasattr(model, 'net_g_ema'):
            _to_channels_last(model.net_g_ema)
    if train.get('amp'):
        for net in trained_networks(model).values():
            for module in net.modules():
                if getattr(module, 'full_precision', False):
                    module.forward = _in_float32(module.forward, model.device.type)
    for name, module in chosen(model, 'compile'):
        net = name.split('.')[0]
        has_r1 = train.get('r1_reg_weight', 10) and 'r1_reg_weight' in option_keys(type(model), 'train')
        if net == 'd' and has_r1:
            raise RefStarError(
                'train:compile: a compiled network has no second derivatives, which the R1 penalty of net_d needs; '
                'write compile: [g], or r1_reg_weight: 0'
            )
        if name != net and not _hooked(trained_networks(model)[net]).isdisjoint(module.modules()):
            raise RefStarError(
                f'train:compile: {name} gets its references by hooks that are new in every pass, but compiled it would '
                'go on with those of its first pass; name other modules: [g.refsel, g.ref_encoder]'
            )
        module.compile(**train.get('compile_kwargs') or {})


def _hooked(net: nn.Module) -> set[nn.Module]:
    """The modules of a RefSTAR's backbone that get references; none in other networks."""
    if not hasattr(net, 'context_taps'):
        return set()
    return {net.backbone.get_submodule(tap) for tap in (*net.taps, *net.context_taps)}


def _to_channels_last(net: nn.Module) -> None:
    """The weights of 2-D convolutions; `Module.to` would also try those of StyleGAN2, which have five axes."""
    for p in net.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)


def _in_float32(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    """A forward pass that autocast leaves alone."""

    @wraps(forward)
    def run(*args: Any) -> Any:
        with torch.autocast(device, enabled=False):
            return forward(*(x.float() if isinstance(x, Tensor) else x for x in args))

    return run
