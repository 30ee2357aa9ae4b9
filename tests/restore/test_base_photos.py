"""`refstar restore --base`: the output of another restorer as a second input."""

import json

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from helpers.networks import PIXELS, RRDB, randomised
from helpers.restoring import SIZE, Detector, face_at, picture, restore, save

from refstar.restore.alignment import warp_to_face
from refstar.restore.base_photos import as_background, read_base, with_base
from refstar.restore.restorer import Restorer
from refstar.utils.image_files import Picture, read_picture
from refstar.utils.network_file import save_network

LIGHT = {'type': 'LightRestorer', 'channels': [8, 16], 'blocks': 1, 'base': 8, 'keep': None}
OPTIONS = {'type': 'RefSTAR', 'size': SIZE, 'pixels': PIXELS['LightRestorer'], 'backbone': LIGHT}
OPTIONS |= {'refsel': {'size': 32, 'channels': 8}, 'structure_size': 8}


@pytest.fixture(scope='module')
def taking(tmp_path_factory):
    """File of a network that returns its base as it is."""
    torch.manual_seed(0)
    net = randomised(build_network(OPTIONS))
    torch.nn.init.zeros_(net.backbone.fuse.out[-1].weight)
    with torch.no_grad():
        net.backbone.fuse.out[-1].bias.copy_(torch.tensor([0.0, 0, 0, 1]))
    path = tmp_path_factory.mktemp('taking') / 'net.safetensors'
    save_network(net, path, OPTIONS)
    return path


def test_a_folder_of_restored_photos(tmp_path, taking, capsys):
    for i, name in enumerate(('a', 'b', 'c', 'd')):
        save(tmp_path / f'in/{name}.png', picture(i))
    save(tmp_path / 'base/a.jpg', picture(10), quality=100, subsampling=0)
    save(tmp_path / 'base/b.png', picture(11, 2 * SIZE, 2 * SIZE))
    save(tmp_path / 'base/c.png', picture(12, SIZE, 2 * SIZE))
    flags = ['-o', tmp_path / 'out', '--base', tmp_path / 'base', '-n', taking, '--aligned']
    assert restore('-i', tmp_path / 'in', *flags) == 1
    said = capsys.readouterr().err
    assert 'c.png: 64x32 pixels, the photo has 32x32: not the same picture' in said
    assert 'd.png: no picture of this name in' in said
    for name, restored in (('a', 'a.jpg'), ('b', 'b.png')):
        wanted = read_picture(tmp_path / 'base' / restored).rgb
        if len(wanted) > SIZE:
            wanted = wanted.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
        found = read_picture(tmp_path / f'out/{name}.png').rgb
        assert np.abs(found - wanted.astype(float)).max() <= 1
    save(tmp_path / 'base/a.webp', picture(0))
    assert restore('-i', tmp_path / 'in/a.png', *flags) == 1
    assert 'a.jpg, a.webp of this name' in capsys.readouterr().err


def test_a_face_takes_the_same_part_of_a_larger_photo(tmp_path, taking):
    """The face and the background of a restored photo of twice the size."""
    photo = Picture(picture(0, 96, 128))
    large = np.kron(picture(1, 96, 128), np.ones((2, 2, 1), np.uint8))
    save(tmp_path / 'x.png', large)
    base = read_base(tmp_path, tmp_path / 'x.jpg', photo)
    restorer = Restorer.from_pretrained(taking, detector=None)
    restorer.detector = Detector({128: [face_at(40, 20, 48)]})
    face = with_base(restorer.find_faces(photo)[0], photo, base)
    expected = warp_to_face(picture(1, 96, 128), face.matrix, SIZE)
    assert np.abs(face.base.astype(int) - expected).mean() < 6 < np.abs(face.base.astype(int) - face.crop).mean()
    assert np.array_equal(as_background(base, photo.rgb, 2), large)
    assert as_background(base, photo.rgb, 1).shape == photo.rgb.shape


def test_the_weights_of_a_restorer(tmp_path, taking):
    """A file of Real-ESRGAN runs on every face, with and without references."""
    x4 = build_network(RRDB | {'scale': 4})
    for p in x4.parameters():
        torch.nn.init.zeros_(p)
    x4.conv_last.bias.data.copy_(torch.tensor([0.2, 0.4, 0.6]))
    torch.save(x4.state_dict(), tmp_path / 'x4.pth')
    photo, ref = save(tmp_path / 'a.png', picture(0)), save(tmp_path / 'r.png', picture(1))
    for refs in ([], ['-r', ref, '--on_wrong_identity', 'warn']):
        flags = ['-o', tmp_path / 'out', '--base', tmp_path / 'x4.pth', '-n', taking, '--aligned', '--no_colour']
        assert restore('-i', photo, *refs, *flags) == 0
        found = read_picture(tmp_path / 'out/a.png').rgb
        assert np.abs(found - np.array([51.0, 102, 153])).max() <= 1
        assert len(json.loads((tmp_path / 'out/a.json').read_text())['faces'][0]['references']) == len(refs) // 4


@pytest.mark.parametrize('kind', ['folder', 'file'])
def test_a_network_without_the_stage_is_refused(tmp_path, net, kind, capsys):
    photo = save(tmp_path / 'in/a.png', picture(0))
    save(tmp_path / 'base/a.png', picture(1))
    torch.save(build_network(RRDB).state_dict(), tmp_path / 'x1.pth')
    base = tmp_path / ('base' if kind == 'folder' else 'x1.pth')
    assert restore('-i', photo, '-o', tmp_path / 'out', '-n', net, '--aligned', '--base', base) == 2
    assert '--base: this network takes no output of another restorer' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
