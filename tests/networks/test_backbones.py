"""The known backbones at the size of their released weights: on the meta device, without memory or arithmetic."""

from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from helpers import runs
from helpers.networks import BACKBONES, image, images, make, originals, randomised, run
from torch import nn

from refstar import RefSTAR, RefStarError
from refstar.backbones import copy_to_measure
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


@pytest.mark.parametrize('name', RELEASED)
def test_state_dict_of_released_size_is_the_original(name):
    arguments = {key: value for key, value in RELEASED[name].items() if key != 'type'}
    with torch.device('meta'):
        state, net = originals()[name](**arguments).state_dict(), RefSTAR(RELEASED[name], 512)
    found = {key: x.shape for key, x in net.state_dict().items() if key.startswith('backbone.')}
    assert found == {f'backbone.{key}': x.shape for key, x in state.items()}
    assert list(net.taps.values()) == [64, 128, 256]


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


def test_a_backbone_that_enlarges_takes_smaller_photos():
    """Tapped before it enlarges the photo: the resolution of the tap does not show it. 3 is no power of two."""
    block = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 3}
    net = RefSTAR(block, 48, taps=['body.2', 'upsampler'], refsel={'size': 32, 'channels': 8}, ref_channels=8).eval()
    assert (net.scale, net.lq_size, net.taps) == (3, 16, {'body.2': 16, 'upsampler': 48})
    lq, refs = images(1, size=16, seed=1), images(1, 1, size=48, seed=2)
    with torch.no_grad():
        out, aux = net(lq, refs, return_aux=True)
    assert out.shape[-1] == aux['mask'].shape[-1] == aux['alpha'].shape[-1] == 48
    assert not torch.equal(out, net.backbone(lq))
    with pytest.raises(RefStarError, match='photo of 48x48 pixels; this network takes 16x16'):
        net(images(1, size=48), refs)


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(RefStarError, match='enlarges photos 3 times, but network_g'):
        RefSTAR({'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 3}, 32, taps=['body.2'])
    with pytest.raises(RefStarError, match='makes 16x16 pixels of a photo of 32x32; a backbone must keep the size'):
        copy_to_measure(nn.AvgPool2d(2), 32)


# ------------------------------------------------------------------ CodeFormer's fidelity weight w
def test_w_mixes_in_the_photo_and_strength_0_keeps_it():
    net, lq, refs = make('CodeFormer'), images(1, seed=1), images(1, 1, seed=2)
    out = {w: run(net, lq, refs, w=w) for w in (0, 0.5, 1)}
    assert torch.equal(out[0], run(net, lq, refs))
    assert all((out[a] - out[b]).abs().mean() > 1e-3 for a, b in ((0, 0.5), (0.5, 1)))
    with torch.no_grad():
        assert torch.equal(run(net, lq, refs, strength=0.0, w=0.5), image(net.backbone(lq, w=0.5)))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'img_size': 48}, 'img_size 48 with 2 levels'),
        ({'ch_mult': [1, 1, 1]}, 'img_size 32 with 3 levels'),
        ({'connect_list': ['64']}, "'64' is no resolution; there are 32, 16"),
    ],
)
def test_sizes_of_codeformer_that_do_not_fit_are_named(changes, message):
    with pytest.raises(RefStarError, match=message):
        build_network({**BACKBONES['CodeFormer'], **changes})


def test_codeformer_at_64_px_lets_the_encoder_in_everywhere():
    """Every connected resolution of a small one changes the image, as `w` says."""
    block = {**BACKBONES['CodeFormer'], 'img_size': 64, 'ch_mult': [1, 2, 2], 'connect_list': ['16', '32', '64']}
    net, lq = build_network(block).eval(), images(1, size=64)
    with torch.no_grad():
        assert torch.equal(net(lq, w=1)[0], net(lq)[0]), 'untrained, w changes nothing'
        randomised(net)
        none, half, full = (net(lq, w=w)[0] for w in (0, 0.5, 1))
        for place in block['connect_list']:
            net.connect_list = [place]
            assert not torch.equal(net(lq, w=1)[0], none)
    assert none.shape == lq.shape and not torch.equal(half, full)
