"""The network that ships: taken where none is given; better with references, and a sharp photo stays as it is."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from refstar.identity_arch import IdentityEncoder
from refstar.restore.restorer import Restorer
from refstar.tools.restore import main as restore
from refstar.utils.image_files import read_picture, to_image, to_tensor
from refstar.utils.released_weights import SHIPPED

EXAMPLE = SHIPPED.parents[2] / 'docs' / 'example'
PEOPLE = {'type': 'SyntheticFaceDataset', 'name': 'people', 'phase': 'test', 'gt_size': 512, 'num_refs': 1}
PEOPLE |= {'first_identity': 950_000, 'identities': 2, 'photos_per_identity': 2, 'seed': 11}


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer.from_pretrained(detector=None)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square((a.astype(float) - b) / 255).mean()))


def test_size(restorer):
    assert SHIPPED.stat().st_size < 30_000_000
    assert restorer.size == 512


def test_references_bring_the_person_back_and_strangers_are_left_out(restorer):
    whole, ref = (read_picture(EXAMPLE / name) for name in ('photo.jpg', 'references/1.jpg'))
    photo = Restorer.from_pretrained().find_faces(whole)[0].crop
    stranger = to_image(build_dataset(PEOPLE)[0]['gt'])
    none, right, wrong = (restorer(photo, refs) for refs in (None, [ref.rgb], [stranger]))
    encoder = IdentityEncoder('dlib')
    known, *found = encoder(torch.stack([to_tensor(image) for image in (ref.rgb, photo, none.image, right.image)]))
    before, without, with_ref = (float(known @ x) for x in found)
    assert with_ref > max(before, without) + 0.2, (before, without, with_ref)
    assert not wrong.chosen and (wrong.image == none.image).all()


def test_a_sharp_photo_stays_as_it_is(restorer):
    photo = read_picture(EXAMPLE / 'references/1.jpg').rgb
    for refs in (None, [photo[:, ::-1]]):
        assert psnr(restorer(photo, refs).image, photo) >= 35


def test_restore_takes_it(tmp_path, capsys):
    inputs = ['-i', str(EXAMPLE / 'photo.jpg'), '-r', str(EXAMPLE / 'references')]
    for name, strength in (('with', '1'), ('without', '0')):
        assert restore([*inputs, '-o', str(tmp_path / name), '-w', strength]) == 0
    with_refs, without = (cv2.imread(str(tmp_path / name / 'photo.jpg')).astype(int) for name in ('with', 'without'))
    assert with_refs.shape == (512, 952, 3)
    assert np.abs(with_refs - without)[:, 260:772].mean() > 1  # around the face
    record = (tmp_path / 'with/photo.json').read_text()
    assert SHIPPED.name in record
