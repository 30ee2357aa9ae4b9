"""The known backbones at the size of their released weights: on the meta device, without memory or arithmetic."""

from functools import cache
from pathlib import Path

import pytest
import torch
from helpers import runs
from test_refstar import originals

from refstar import RefSTAR, RefStarError
from refstar.trainer.option_file import load_options

OPTIONS = Path(__file__).parents[2] / 'options/train'


def shipped(name: str) -> dict:
    return load_options(OPTIONS / name)['network_g']['backbone']


GFPGAN = shipped('refstar_gfpgan_512.yml')
RELEASED = {
    'GFPGANv1Clean': GFPGAN,
    'GFPGANBilinear': {**GFPGAN, 'type': 'GFPGANBilinear'},
    'RestoreFormer': {'type': 'RestoreFormer'},  # as gfpgan builds it for its weights
    'CodeFormer': shipped('refstar_codeformer_stage3_512.yml'),
}


@cache
def made(name: str) -> RefSTAR:
    with torch.device('meta'):
        return RefSTAR(RELEASED[name], 512)


@pytest.mark.parametrize('name', RELEASED)
def test_state_dict_of_the_released_size_is_that_of_the_original_class(name):
    arguments = {key: value for key, value in RELEASED[name].items() if key != 'type'}
    with torch.device('meta'):
        state = originals()[name](**arguments).state_dict()
    net = made(name)
    found = {key: x.shape for key, x in net.state_dict().items() if key.startswith('backbone.')}
    assert found == {f'backbone.{key}': x.shape for key, x in state.items()}
    assert list(net.taps.values()) == [64, 128, 256]


def test_codeformer_is_tapped_last_at_a_resolution_and_after_w():
    net = made('CodeFormer')
    for tap, size in net.taps.items():
        path, _, number = tap.rpartition('.')
        assert path == 'generator.blocks'
        assert type(net.backbone.generator.blocks[int(number) + 1]).__name__ == 'Upsample'
        assert str(size) in net.backbone.fuse_convs_dict
        assert int(number) > net.backbone.fuse_generator_block[str(size)]


def test_codeformer_is_imported_only_when_asked_for(tmp_path):
    code = """import sys
from refstar import RefSTAR
from basicsr.archs import build_network
backbone = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 1, 'num_feat': 8, 'num_block': 1}
RefSTAR(backbone, 32)
assert 'codeformer' not in sys.modules
build_network({'type': 'VQGANDiscriminator', 'ndf': 4, 'n_layers': 1})
assert 'codeformer' in sys.modules
"""
    runs.succeeded(runs.python('-c', code, cwd=tmp_path))


def test_a_backbone_that_changes_the_size_is_refused():
    """Tapped before it enlarges the photo: the resolution of the tap does not tell."""
    block = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 2}
    with pytest.raises(RefStarError, match='SRVGGNetCompact makes 64x64 pixels of a photo of 32x32'):
        RefSTAR(block, 32, taps=['body.2'])
