"""The small network that ships: taken where none is given; it restores better with references than without."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from torch.utils.data import default_collate

from refstar.tools.restore import main as restore
from refstar.utils.network_file import load_network
from refstar.utils.released_weights import SHIPPED

PHOTOS = 12
EXAMPLE = SHIPPED.parents[2] / 'docs' / 'example'
PEOPLE = {'type': 'SyntheticFaceDataset', 'name': 'people', 'phase': 'test', 'gt_size': 128, 'num_refs': 2}
PEOPLE |= {'first_identity': 950_000, 'identities': PHOTOS, 'photos_per_identity': 4, 'seed': 11}


@pytest.fixture(scope='module')
def net() -> torch.nn.Module:
    return load_network(SHIPPED)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    error = ((a.clamp(-1, 1) - b) / 2).square().mean((1, 2, 3))
    return (-10 * error.log10()).mean().item()


def test_small():
    assert SHIPPED.stat().st_size < 4_000_000


def test_references_help_and_strangers_do_not_harm(net):
    people = build_dataset(PEOPLE | {'degradation': 'ffhq_ref_severe'})
    batch = default_collate([people[i] for i in range(PHOTOS)])
    lq, gt = batch['lq'], batch['gt']
    with torch.inference_mode():
        arms = {'right': net(lq, batch['refs']), 'none': net(lq), 'wrong': net(lq, batch['wrong_refs'])}
    found = {'lq': psnr(lq, gt)} | {name: psnr(out, gt) for name, out in arms.items()}
    assert found['none'] > found['lq'] + 0.5, found
    assert found['right'] > found['none'] + 1.0, found
    assert found['wrong'] > found['none'] - 0.5, found


def test_restore_takes_it_and_says_so(tmp_path, capsys):
    inputs = ['-i', str(EXAMPLE / 'photo.jpg'), '-r', str(EXAMPLE / 'references')]
    for name, strength in (('with', '1'), ('without', '0')):
        assert restore([*inputs, '-o', str(tmp_path / name), '-w', strength]) == 0
    assert '128x128' in capsys.readouterr().err
    with_refs, without = (cv2.imread(str(tmp_path / name / 'photo.jpg')).astype(int) for name in ('with', 'without'))
    assert with_refs.shape == (512, 952, 3)
    assert np.abs(with_refs - without)[:, 260:772].mean() > 2  # around the face
    record = (tmp_path / 'with/photo.json').read_text()
    assert SHIPPED.name in record
