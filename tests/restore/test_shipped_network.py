"""The network that ships: taken where none is given; better with references, and a sharp photo stays as it is."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from torch.utils.data import default_collate

from refstar.restore.restorer import Restorer
from refstar.tools.restore import main as restore
from refstar.utils.image_files import read_picture
from refstar.utils.released_weights import SHIPPED

PHOTOS = 4
EXAMPLE = SHIPPED.parents[2] / 'docs' / 'example'
PEOPLE = {'type': 'SyntheticFaceDataset', 'name': 'people', 'phase': 'test', 'gt_size': 512, 'num_refs': 1}
PEOPLE |= {'first_identity': 950_000, 'identities': PHOTOS, 'photos_per_identity': 2, 'seed': 11}


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer.from_pretrained(detector=None)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square((a.astype(float) - b) / 255).mean()))


def test_size(restorer):
    assert SHIPPED.stat().st_size < 30_000_000
    assert restorer.size == 512


def test_references_help_and_strangers_do_not_harm(restorer):
    people = build_dataset(PEOPLE | {'degradation': 'ffhq_ref_severe'})
    batch = default_collate([people[i] for i in range(PHOTOS)])
    net, lq, gt = restorer.net, batch['lq'], batch['gt']
    with torch.inference_mode():
        arms = {'right': net(lq, batch['refs']), 'none': net(lq), 'wrong': net(lq, batch['wrong_refs']), 'lq': lq}
    found = {name: -10 * ((x - gt) / 2).square().mean((1, 2, 3)).log10().mean().item() for name, x in arms.items()}
    assert found['none'] > found['lq'] + 0.5, found
    assert found['right'] > found['none'] + 0.2, found
    assert found['wrong'] > found['none'] - 0.5, found


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
