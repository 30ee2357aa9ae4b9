"""How networks are laid out and run in training: TF32, memory format, mixed precision, compilation.

A module with the class attribute `full_precision = True` stays float32 in mixed precision.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from torch import Tensor, nn

from refstar.utils.errors import RefStarError, nearest

from .option_check import block_of


def networks(model: BaseModel) -> dict[str, nn.Module]:
    """Returns the networks of a model without wrappers: {'g': net_g, 'g_ema': net_g_ema, 'd': net_d ...}."""
    named = {name: net for name, net in vars(model).items() if name.startswith('net_') and isinstance(net, nn.Module)}
    return {name.removeprefix('net_'): model.get_bare_model(net) for name, net in named.items()}


def trained_networks(model: BaseModel) -> dict[str, nn.Module]:
    """Returns those of them whose weights are trained."""
    return {
        name: net
        for name, net in networks(model).items()
        if not name.endswith('_ema') and any(p.requires_grad for p in net.parameters())
    }


def chosen(model: BaseModel, key: str) -> list[tuple[str, nn.Module]]:
    """Returns the modules that an option of the block `train` names: `true`, or a list of networks and modules.

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


def prepare_networks(model: BaseModel) -> None:
    """Applies `tf32`, `channels_last`, `amp` and `compile` to a model that has just been built for training.

    Raises:
        RefStarError: the model or one of its networks cannot be trained so.
    """
    train = model.opt['train']
    if train.get('tf32') is not None:
        torch.set_float32_matmul_precision('high' if train['tf32'] else 'highest')
        torch.backends.cudnn.allow_tf32 = train['tf32']
    for name, module in chosen(model, 'channels_last'):
        _to_channels_last(module)
        if name == 'g' and hasattr(model, 'net_g_ema'):
            _to_channels_last(model.net_g_ema)
    if train.get('amp'):
        _set_precision(model, train['amp'])
    for name, module in chosen(model, 'compile'):
        net = name.split('.')[0]
        if (
            net == 'd'
            and train.get('r1_reg_weight', 10)
            and 'r1_reg_weight' in block_of(type(model), 'train').model_fields
        ):
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


def _set_precision(model: BaseModel, amp: str) -> None:
    """Keeps modules with `full_precision` in float32; lets networks and losses of a BasicSR model run in bf16.

    The backward passes of a BasicSR model stay outside of autocast. A model of this project enters autocast itself.
    """
    for net in trained_networks(model).values():
        for module in net.modules():
            if getattr(module, 'full_precision', False):
                module.forward = _in_float32(module.forward, model.device.type)
    if getattr(model, 'runs_training_step', False):
        return
    if amp == 'fp16':
        raise RefStarError(
            f'train:amp: {model.opt["model_type"]} runs loss.backward() itself, so its loss cannot be scaled; use bf16'
        )
    if model.opt['num_gpu'] > 1 and not model.opt['dist']:
        raise RefStarError('train:amp: several GPUs need torchrun ... --launcher pytorch')
    losses = [loss for name, loss in vars(model).items() if name.startswith('cri_') and isinstance(loss, nn.Module)]
    weighted = [loss for loss in losses if any(True for _ in loss.parameters())]
    for module in [*trained_networks(model).values(), *weighted]:
        module.forward = _in_bf16(module, module.forward, model.device.type)


def _in_bf16(module: nn.Module, forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Returns a forward pass that computes in bf16 in training and returns float32.

    Where the gradient of the image itself is wanted (R1), it stays float32: second derivatives want it.
    """

    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        is_r1 = bool(args) and isinstance(args[0], Tensor) and args[0].is_leaf and args[0].requires_grad
        if is_r1 or not module.training:
            return forward(*args, **kwargs)
        with torch.autocast(device, torch.bfloat16):
            return _float32(forward(*args, **kwargs))

    return run


def _in_float32(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Returns a forward pass that autocast does not reach."""

    @wraps(forward)
    def run(*args: Any) -> Any:
        with torch.autocast(device, enabled=False):
            return forward(*_float32(args))

    return run


def _float32(value: Any) -> Any:
    """Returns reduced-precision tensors, also in lists, tuples and dicts, as float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    if isinstance(value, dict):
        return {key: _float32(entry) for key, entry in value.items()}
    return type(value)(map(_float32, value)) if type(value) in (list, tuple) else value


def _hooked(net: nn.Module) -> set[nn.Module]:
    """Returns the modules of a RefSTAR's backbone that get references; none in other networks."""
    if not hasattr(net, 'context_taps'):
        return set()
    return {net.backbone.get_submodule(tap) for tap in (*net.taps, *net.context_taps)}


def _to_channels_last(net: nn.Module) -> None:
    """Lays out the weights of 2-D convolutions; `Module.to` would also try those of StyleGAN2, which have five axes."""
    for p in net.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)
