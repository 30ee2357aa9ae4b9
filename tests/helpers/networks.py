"""Small networks with random weights for the tests of RefSTAR: every kind of backbone."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest import mock

import torch

from refstar import RefSTAR
from refstar.flow_arch import FlowRestorer
from refstar.light_arch import LightRestorer

SIZE = 32
GFPGAN = {'type': 'GFPGANv1Clean', 'out_size': SIZE, 'num_style_feat': 32, 'channel_multiplier': 1, 'narrow': 0.0625}
GFPGAN |= {'fix_decoder': False, 'num_mlp': 2, 'input_is_latent': True, 'different_w': True, 'sft_half': True}
RRDB = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 1}
RRDB |= {'num_feat': 16, 'num_block': 1, 'num_grow_ch': 8}
RESTOREFORMER = {'type': 'RestoreFormer', 'n_embed': 16, 'embed_dim': 32, 'ch': 32, 'ch_mult': [1, 2]}
RESTOREFORMER |= {'num_res_blocks': 1, 'attn_resolutions': [16], 'resolution': SIZE, 'z_channels': 32, 'head_size': 4}
SWINIR = {'type': 'SwinIR', 'img_size': SIZE, 'window_size': 8, 'depths': [1], 'num_heads': [2], 'embed_dim': 16}
SWINIR |= {'mlp_ratio': 2, 'upscale': 1, 'upsampler': ''}
SMALL_VQGAN = {'img_size': SIZE, 'nf': 32, 'ch_mult': [1, 1]}  # the least that CodeFormer takes
BACKBONES = {
    'RRDBNet': RRDB,
    'GFPGANv1Clean': GFPGAN,
    'GFPGANBilinear': {**GFPGAN, 'type': 'GFPGANBilinear', 'lr_mlp': 0.01},
    'RestoreFormer': RESTOREFORMER,
    'CodeFormer': {'type': 'CodeFormer', 'dim_embd': 32, 'n_head': 2, 'n_layers': 2, 'connect_list': [str(SIZE)]}
    | SMALL_VQGAN,
    'SwinIR': SWINIR,
}
BACKBONES['LightRestorer'] = {'type': 'LightRestorer', 'channels': [8, 16], 'blocks': 1, 'octave': 8}
BACKBONES['FlowRestorer'] = {'type': 'FlowRestorer', 'mean': RRDB, 'channels': [8, 16], 'blocks': 1, 'steps': 2}
AUTOENCODER = {'block_out_channels': [8, 8], 'down_block_types': ['DownEncoderBlock2D'] * 2, 'norm_num_groups': 8}
AUTOENCODER |= {'up_block_types': ['UpDecoderBlock2D'] * 2, 'latent_channels': 4, 'num_vq_embeddings': 16}
LATENT = {'type': 'DiffusersAutoencoder', 'name': 'VQModel', 'config': AUTOENCODER | {'scaling_factor': 1}}
BACKBONES['FlowRestorer, latent'] = {**BACKBONES['FlowRestorer'], 'latent': LATENT}
KNOWN = {'LightRestorer': [0.5, 0.95], 'RestoreFormer': [0.5, 0.95]}  # what the photo shows stays its own
PIXELS = {'LightRestorer': 4, 'FlowRestorer': 4, 'FlowRestorer, latent': 2}  # references as folded pixels
# Backbones that enlarge: rows of their own, so that every test of all backbones sees them.
BACKBONES['RRDBNet x4'] = {**RRDB, 'scale': 4}
BACKBONES['SwinIR x2'] = {**SWINIR, 'img_size': SIZE // 2, 'upscale': 2, 'upsampler': 'pixelshuffle'}
TAPS = {'SwinIR': ['conv_first', 'conv_after_body']}  # the others have theirs in the table


@contextmanager
def narrow_codeformer() -> Iterator[None]:
    """While open, the original CodeFormer is built for 32 pixels with 32 channels; its forward is as it was.

    Where `w` lets the encoder in (`connect_list`) is written in the class for 512 pixels; here it is one place.
    """
    from codeformer.basicsr.archs.codeformer_arch import CodeFormer, Fuse_sft_block
    from codeformer.basicsr.archs.vqgan_arch import VQAutoEncoder

    build, make = VQAutoEncoder.__init__, CodeFormer.__init__

    def narrow(self, img_size, nf, ch_mult, *rest, **named):
        sizes = (SIZE, 32, [1, 1]) if isinstance(self, CodeFormer) else (img_size, nf, ch_mult)
        build(self, *sizes, *rest, **named)

    def connected(self, *args, connect_list=(), **named):
        make(self, *args, connect_list=[], **named)
        self.connect_list = connect_list
        self.fuse_encoder_block, self.fuse_generator_block = {str(SIZE): 2}, {str(SIZE): 9}
        self.fuse_convs_dict.update({place: Fuse_sft_block(32, 32) for place in connect_list})

    with mock.patch.object(VQAutoEncoder, '__init__', narrow), mock.patch.object(CodeFormer, '__init__', connected):
        yield


def randomised(net: torch.nn.Module) -> torch.nn.Module:
    """The network as if it had learned something: parameters that begin at zero become random."""
    for p in net.parameters():
        if p.ndim != 1 and not p.any():
            torch.nn.init.normal_(p, std=0.05)
    return net


@cache
def _made(name: str, context: bool) -> RefSTAR:
    torch.manual_seed(1)
    block = {'dim': 16, 'channels': 8, 'grid': 2} if context else None
    options = {'refsel': {'size': 32, 'channels': 8}, 'ref_channels': 8, 'structure_size': 8, 'taps': TAPS.get(name)}
    options |= {'pixels': PIXELS.get(name, 0), 'known': KNOWN.get(name)}
    net = RefSTAR(BACKBONES[name], SIZE, context=block, **options)
    return randomised(net).eval()


def make(name: str, context: bool = False) -> RefSTAR:
    """A small RefSTAR in evaluation mode whose every parameter is random, zero-initialised ones too."""
    return copy.deepcopy(_made(name, context))


def photos(net: RefSTAR, *shape: int, seed: int = 0) -> torch.Tensor:
    """Images of the side that the network takes."""
    return images(*shape, size=net.lq_size, seed=seed)


def images(*shape: int, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Smooth random images in [-1, 1], shape (*shape, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(*shape, 3, 8, 8, generator=generator) * 2 - 1
    large = torch.nn.functional.interpolate(small.flatten(0, -4), (size, size), mode='bilinear')
    return large.view(*shape, 3, size, size)


def image(out: torch.Tensor | tuple) -> torch.Tensor:
    """The restored image: some backbones return more."""
    return out if isinstance(out, torch.Tensor) else out[0]


def run(net: RefSTAR, *args, **kwargs) -> torch.Tensor:
    """The image of one forward pass, with the same noise (GFPGAN draws some) in every call."""
    torch.manual_seed(0)
    with torch.no_grad():
        return image(net(*args, **kwargs))


def bare(net: RefSTAR, lq: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return image(net.backbone(lq))


def originals() -> dict[str, type]:
    """The classes of the backbones as their own packages have them."""
    from basicsr.archs import rrdbnet_arch, swinir_arch
    from codeformer.basicsr.archs import codeformer_arch
    from gfpgan.archs import gfpgan_bilinear_arch, gfpganv1_clean_arch, restoreformer_arch

    homes = (rrdbnet_arch, swinir_arch, codeformer_arch, gfpgan_bilinear_arch, gfpganv1_clean_arch, restoreformer_arch)
    found = {name: cls for home in homes for name, cls in vars(home).items()}
    found |= {'LightRestorer': LightRestorer, 'FlowRestorer': FlowRestorer}
    return {name: found[block['type']] for name, block in BACKBONES.items()}
