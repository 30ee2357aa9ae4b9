"""BasicSR's two compiled StyleGAN2 operators in plain torch, for where the compiled ones are missing or cannot run.

Both are made of differentiable torch functions, so second derivatives exist: R1 regularisation works on the CPU too.
"""

from importlib import import_module

import torch
import torch.nn.functional as F

# By name: in both packages a function may hide the module of the same name.
fused_act = import_module('basicsr.ops.fused_act.fused_act')
upfirdn2d_module = import_module('basicsr.ops.upfirdn2d.upfirdn2d')


def fused_leaky_relu(x: torch.Tensor, bias: torch.Tensor, negative_slope: float, scale: float) -> torch.Tensor:
    """Returns `leaky_relu(x + bias) * scale` for `x` of shape (b, c, ...) and `bias` of shape (c,)."""
    bias = bias.view(1, -1, *[1] * (x.ndim - 2))
    return F.leaky_relu(x + bias, negative_slope) * scale


class _FusedLeakyReLU:
    """Stands in for the autograd function `FusedLeakyReLUFunction`, which BasicSR looks up at each call."""

    compiled = fused_act.FusedLeakyReLUFunction

    @classmethod
    def apply(cls, x: torch.Tensor, bias: torch.Tensor, negative_slope: float, scale: float) -> torch.Tensor:
        if x.is_cuda and hasattr(fused_act, 'fused_act_ext'):
            return cls.compiled.apply(x, bias, negative_slope, scale)
        return fused_leaky_relu(x, bias, negative_slope, scale)


class _UpFirDn2d:
    """Stands in for the autograd function `UpFirDn2d`, which BasicSR calls for tensors that are not on the CPU."""

    compiled = upfirdn2d_module.UpFirDn2d

    @classmethod
    def apply(cls, x: torch.Tensor, kernel: torch.Tensor, up: tuple, down: tuple, pad: tuple) -> torch.Tensor:
        if x.is_cuda and hasattr(upfirdn2d_module, 'upfirdn2d_ext'):
            return cls.compiled.apply(x, kernel, up, down, pad)
        return upfirdn2d_module.upfirdn2d_native(x, kernel, *up, *down, *pad)


def install() -> None:
    """Puts the operators in place of BasicSR's; a compiled extension still serves CUDA tensors."""
    fused_act.FusedLeakyReLUFunction = _FusedLeakyReLU
    upfirdn2d_module.UpFirDn2d = _UpFirDn2d
