"""Released restorers by the keys of their weights, and what a network does with their output."""

import pytest
import torch
from basicsr.archs import build_network
from helpers.networks import RRDB, images

from refstar.blind_restorer import FACE_RESTORERS, BlindRestorer
from refstar.light_arch import LightRestorer
from refstar.utils.errors import RefStarError


@pytest.mark.parametrize('name', ['GFPGANv1Clean', 'RestoreFormer', 'CodeFormer'])
def test_every_face_restorer_is_told_by_its_keys(name):
    block = next(block for block in FACE_RESTORERS.values() if block['type'] == name)
    keys = build_network(block).state_dict().keys()
    assert next(found for key, found in FACE_RESTORERS.items() if key in keys) is block


def test_real_esrgan_gives_an_image_of_the_same_size(tmp_path):
    net = build_network(RRDB | {'scale': 4})
    torch.save({'params_ema': net.state_dict()}, tmp_path / 'x4.pth')
    restorer, photo = BlindRestorer(tmp_path / 'x4.pth'), images(2, size=512)
    assert restorer.lq_size == 128 and not any(p.requires_grad for p in restorer.parameters())
    small = torch.nn.functional.avg_pool2d(photo, 4)
    expected = net((small + 1) / 2).detach() * 2 - 1
    torch.testing.assert_close(restorer(photo), expected.clamp(-1, 1))


def test_other_weights_are_named(tmp_path):
    torch.save({'a.weight': torch.zeros(1)}, tmp_path / 'a.pth')
    with pytest.raises(RefStarError, match=r'a\.pth: not of GFPGAN .* or Real-ESRGAN'):
        BlindRestorer(tmp_path / 'a.pth')


def test_the_base_enters_by_its_own_stage_alone():
    net = LightRestorer([8, 16], 1, octave=8, base=8, keep=None).eval()
    torch.nn.init.normal_(net.out[-1].weight, std=0.1)
    photo, base = images(2, seed=1)
    photo, base = photo[None], base[None]
    with torch.no_grad():
        assert torch.equal(net(photo, base=base), net(photo))  # untrained
        net.fuse.out[-1].bias[3] = 1
        torch.testing.assert_close(net(photo, base=base), base)
        before = LightRestorer([8, 16], 1, octave=8, keep=None).eval()
        before.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith('fuse.')})
        assert torch.equal(net(photo), before(photo))
    with pytest.raises(RefStarError, match='takes no output of another restorer'):
        before(photo, base=base)
