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

CODES = 16  # side of CodeFormer's grid of codes


def _codeformer(module: str, name: str) -> type[nn.Module]:
    """Return a class of codeformer-pip.

    Raises:
        RefStarError: the package is not there.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch.jit.script is deprecated
            return getattr(import_module(f'codeformer.basicsr.archs.{module}'), name)
    except ImportError as error:
        raise RefStarError(f'{name} needs the package codeformer-pip: pip install codeformer-pip ({error})') from error


@register_arch
def CodeFormer(
    dim_embd: int = 512,
    n_head: int = 8,
    n_layers: int = 9,
    codebook_size: int = 1024,
    latent_size: int = CODES**2,
    connect_list: Sequence[str] = ('32', '64', '128', '256'),
    fix_modules: Sequence[str] | None = ('quantize', 'generator'),
    img_size: int = 512,
    nf: int = 64,
    ch_mult: Sequence[int] = (1, 2, 2, 4, 4, 8),
) -> nn.Module:
    """Build CodeFormer: lq (b, 3, H, H) RGB in [-1, 1] -> (image, code logits (b, 256, k), lq features).

    The fidelity weight ``w`` in [0, 1] is an argument of its ``forward`` (default 0). Untrained, it changes nothing:
    unlike CodeFormer's own, which begins at random. Source: codeformer-pip, licence S-Lab 1.0, non-commercial.

    Args:
        dim_embd, n_head, n_layers (int): width, heads and layers of the transformer.
        codebook_size (int): number of codes.
        latent_size (int): number of latent positions.
        connect_list (Sequence[str]): resolutions at which ``w`` mixes in encoder features.
        fix_modules (Sequence[str] | None): modules whose weights are frozen.
        img_size, nf, ch_mult: of :func:`VQAutoEncoder`. The defaults are the released network's.

    Raises:
        RefStarError: the codes of this autoencoder are no grid of 16 x 16, or it has no such resolution.
    """
    levels = {str(img_size >> i): i for i in range(len(ch_mult))}
    if img_size != CODES << len(ch_mult) - 1:
        raise RefStarError(
            f'CodeFormer: img_size {img_size} with {len(ch_mult)} levels (ch_mult): the last must have {CODES} pixels'
        )
    if unknown := [size for size in connect_list if size not in levels]:
        raise RefStarError(f'CodeFormer: connect_list: {unknown[0]!r} is no resolution; there are {", ".join(levels)}')
    stage_one = _codeformer('vqgan_arch', 'VQAutoEncoder')

    class Autoencoder(stage_one):  # CodeFormer calls the next class with the sizes of 512 pixels
        def __init__(self, _size: int, _width: int, _factors: list[int], *rest: Any) -> None:
            super().__init__(img_size, nf, list(ch_mult), *rest)

    options = {'n_layers': n_layers, 'codebook_size': codebook_size, 'latent_size': latent_size}
    sized = type('CodeFormer', (_codeformer('codeformer_arch', 'CodeFormer'), Autoencoder), {})
    net = sized(dim_embd, n_head, **options, connect_list=[], fix_modules=fix_modules)
    fuse, net.connect_list = _codeformer('codeformer_arch', 'Fuse_sft_block'), list(connect_list)
    # Encoder: a convolution, then levels of two residual blocks and one that halves the side; at the last level
    # attention follows each residual block. Features are taken after the second residual block. Generator: a
    # convolution and three blocks, then the levels backwards, the last one (blocks 4 to 8) with attention. Features are
    # mixed in after a level's first residual block, at the last level after the second one (block 6).
    for size in connect_list:
        level, width = levels[size], nf * ch_mult[levels[size]]
        net.fuse_encoder_block[size] = 2 + 3 * level + (level == len(ch_mult) - 1)
        net.fuse_generator_block[size] = 9 + 3 * (len(ch_mult) - 2 - level)
        net.fuse_convs_dict[size] = fuse(width, width)
        for branch in (net.fuse_convs_dict[size].scale, net.fuse_convs_dict[size].shift):
            for parameter in branch[-1].parameters():
                nn.init.zeros_(parameter)
    return net


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
    """Build CodeFormer's stage I: image (b, 3, H, W) RGB in [-1, 1] -> (image, codebook loss, statistics).

    Source: codeformer-pip, licence S-Lab 1.0, non-commercial.

    Args:
        img_size (int): side of the images in pixels; ``attn_resolutions`` are counted down from it.
        nf (int): channels of the first level.
        ch_mult (Sequence[int]): channels of every level, as multiples of ``nf``. Each level halves the side of the one
            before, so the codes have ``img_size / 2 ** (levels - 1)`` pixels a side.
        quantizer (str): how a feature finds its code: 'nearest' or 'gumbel'.
        res_blocks (int): residual blocks of a level.
        attn_resolutions (Sequence[int]): sides at which attention follows each residual block.
        codebook_size, emb_dim (int): number of codes, and channels of one.
        beta (float): weight of the term that moves codes towards features, in the codebook loss of 'nearest'.
    """
    options = {'codebook_size': codebook_size, 'emb_dim': emb_dim, 'beta': beta}
    sizes = [img_size, nf, list(ch_mult), quantizer, res_blocks, list(attn_resolutions)]
    return _codeformer('vqgan_arch', 'VQAutoEncoder')(*sizes, **options)


@register_arch
def VQGANDiscriminator(nc: int = 3, ndf: int = 64, n_layers: int = 4) -> nn.Module:
    """Build CodeFormer's patch discriminator: image (b, nc, H, W) -> logits (b, 1, h, w)."""
    return _codeformer('vqgan_arch', 'VQGANDiscriminator')(nc, ndf, n_layers)


@register_arch
class RestoreFormer(restoreformer_arch.RestoreFormer):
    """gfpgan's RestoreFormer: lq (b, 3, H, W) RGB in [-1, 1] -> (image, None). Building it prints nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(*args, **kwargs)
