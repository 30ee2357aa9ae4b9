"""Networks of other packages, registered in BasicSR, so that option files can name them.

RestoreFormer comes with gfpgan, which does not register it. CodeFormer comes with codeformer-pip, which has a registry
of its own. Its licence (S-Lab) is non-commercial: nothing of it is imported before an option file names it. State dicts
are those of the original classes.
"""

import contextlib
import io
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from gfpgan.archs import restoreformer_arch
from torch import nn

from refstar.utils.archs import register_arch
from refstar.utils.errors import RefStarError


def _codeformer(module: str, name: str, *args: Any, **kwargs: Any) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch.jit.script is deprecated
            found = getattr(import_module(f'codeformer.basicsr.archs.{module}'), name)
    except ImportError as error:
        raise RefStarError(f'{name} needs the package codeformer-pip: pip install codeformer-pip ({error})') from error
    return found(*args, **kwargs)


@register_arch
def CodeFormer(
    dim_embd: int = 512,
    n_head: int = 8,
    n_layers: int = 9,
    codebook_size: int = 1024,
    latent_size: int = 256,
    connect_list: Sequence[str] = ('32', '64', '128', '256'),
    fix_modules: Sequence[str] | None = ('quantize', 'generator'),
) -> nn.Module:
    """Build CodeFormer (512 px): lq (b, 3, 512, 512) RGB in [-1, 1] -> (image, code logits (b, 256, k), lq features).

    The fidelity weight ``w`` in [0, 1] is an argument of its ``forward`` (default 0). Source: codeformer-pip,
    licence S-Lab 1.0, non-commercial.

    Args:
        dim_embd, n_head, n_layers (int): width, heads and layers of the transformer.
        codebook_size (int): number of codes.
        latent_size (int): number of latent positions.
        connect_list (Sequence[str]): resolutions at which ``w`` mixes in encoder features.
        fix_modules (Sequence[str] | None): modules whose weights are frozen.
    """
    options = {'n_layers': n_layers, 'codebook_size': codebook_size, 'latent_size': latent_size}
    connect = list(connect_list)
    return _codeformer(
        'codeformer_arch', 'CodeFormer', dim_embd, n_head, **options, connect_list=connect, fix_modules=fix_modules
    )


@register_arch
def VQAutoEncoder(
    img_size: int,
    nf: int,
    ch_mult: Sequence[int],
    quantizer: str = 'nearest',
    res_blocks: int = 2,
    attn_resolutions: Sequence[int] = (16,),
    codebook_size: int = 1024,
    emb_dim: int = 256,
    beta: float = 0.25,
) -> nn.Module:
    """Build CodeFormer's stage I: image (b, 3, H, W) RGB in [-1, 1] -> (image, codebook loss, statistics)."""
    options = {'codebook_size': codebook_size, 'emb_dim': emb_dim, 'beta': beta}
    sizes = [img_size, nf, list(ch_mult), quantizer, res_blocks, list(attn_resolutions)]
    return _codeformer('vqgan_arch', 'VQAutoEncoder', *sizes, **options)


@register_arch
def VQGANDiscriminator(nc: int = 3, ndf: int = 64, n_layers: int = 4) -> nn.Module:
    """Build CodeFormer's patch discriminator: image (b, nc, H, W) -> logits (b, 1, h, w)."""
    return _codeformer('vqgan_arch', 'VQGANDiscriminator', nc, ndf, n_layers)


@register_arch
class RestoreFormer(restoreformer_arch.RestoreFormer):
    """gfpgan's RestoreFormer: lq (b, 3, H, W) RGB in [-1, 1] -> (image, None). Building it prints nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(*args, **kwargs)
