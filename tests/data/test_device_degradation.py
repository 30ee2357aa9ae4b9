"""Degradation of a batch on the model's device: one photo comes out as from the data loader."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from refstar.data.degradation import PRESETS, Degradation, jpeg
from refstar.data.device_degradation import add_degraded, degrade, jpeg_levels, pack_draw, unpack_draws
from refstar.data.reference_pair_dataset import ReferencePairDataset
from refstar.data.synthetic.identity import person
from refstar.data.synthetic.render_photo import draw_shot, take_photo
from refstar.utils.errors import RefStarError

SIZE = 96


@pytest.fixture(scope='module')
def photos():
    shots = [draw_shot(np.random.default_rng(i)) for i in range(4)]
    return [take_photo(person(0, i, SIZE), shot, SIZE).image.astype(np.float32) for i, shot in enumerate(shots)]


def tensor(photos):
    return torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)


def array(batch):
    return batch.permute(0, 2, 3, 1).numpy()


def levels(a, b):
    """Difference of images in [0, 1] or in 8 bits, in steps of 8 bits."""
    a, b = (x.astype(np.float32) if x.dtype == np.uint8 else x * 255 for x in (a, b))
    return np.abs(a - b)


def draws(name, count, seed=0):
    degradation = Degradation.from_option(name, SIZE)
    rng = np.random.default_rng(seed)
    return [degradation.draw(rng, (SIZE, SIZE)) for _ in range(count)]


@pytest.mark.parametrize('name', PRESETS)
def test_blur_and_resizing_equal_the_loader(photos, name):
    plain = [replace(draw, noise=0.0, field=None, quality=0) for draw in draws(name, 4)]
    expected = np.stack([draw.apply(img) for draw, img in zip(plain, photos, strict=True)])
    found = array(degrade(tensor(photos), plain))
    assert levels(found, expected).max() < 1.01 and levels(found, expected).mean() < 0.02


def test_enlarging_and_oblong_images(photos):
    base = replace(draws('gfpgan', 1)[0], noise=0.0, field=None, quality=0)
    photos = [img[:64] for img in photos[:2]]
    sizes = [replace(base, height=80, width=120), replace(base, height=7, width=11)]
    expected = np.stack([draw.apply(img) for draw, img in zip(sizes, photos, strict=True)])
    assert levels(array(degrade(tensor(photos), sizes)), expected).max() < 1.01


@pytest.mark.parametrize('quality', [1, 10, 32, 50, 75, 95, 100])
def test_jpeg_equals_libjpeg(photos, quality):
    expected = np.stack([jpeg(img, quality) for img in photos])
    found = array(jpeg_levels((tensor(photos) * 255).round(), quality)) / 255
    assert (
        levels(found, expected).mean() < 0.8
    )  # a coefficient on the edge between two steps may fall to the other side
    assert abs((found * 255 - expected).mean()) < 0.1


def test_whole_degradation_differs_by_noise_alone(photos):
    """Noise is drawn elsewhere: the spread around what comes out without noise must be the same."""
    for draw, img in zip(draws('ffhq_ref_moderate', 4), photos, strict=True):
        draw = replace(draw, noise=0.06, quality=90, field=np.zeros((draw.height, draw.width, 3), np.float32))
        still = draw.apply(img) / np.float32(255)
        torch.manual_seed(1)
        fields = np.random.default_rng(1).standard_normal((16, draw.height, draw.width, 3), dtype=np.float32)
        cpu = np.stack([replace(draw, field=field).apply(img) for field in fields]) / np.float32(255)
        batch = array(degrade(tensor([img] * 16), [draw] * 16))
        spread = [(x - still).std() * 255 for x in (cpu, batch)]
        assert abs(spread[0] / spread[1] - 1) < 0.05, spread
        assert levels(cpu.mean(0), batch.mean(0)).mean() < 4 * spread[0] / 16**0.5


def test_draws_survive_the_data_loader():
    """What a loader stacks is what was drawn; with or without the noise."""
    drawn = draws('ffhq_ref_severe', 3)
    assert unpack_draws(torch.stack([pack_draw(draw) for draw in drawn])) == [
        replace(draw, field=None) for draw in drawn
    ]
    degradation, rng = Degradation.from_option('gfpgan', SIZE), np.random.default_rng(0)
    assert degradation.draw(rng, (SIZE, SIZE), field=False).field is None


def test_photos_of_a_batch_are_independent(photos):
    mixed = [replace(draw, noise=0.0, field=None, quality=0) for draw in draws('ffhq_ref_train', 4, seed=3)]
    together = degrade(tensor(photos), mixed)
    for i, draw in enumerate(mixed):
        alone = degrade(tensor(photos[i : i + 1]), [draw])
        assert levels(array(alone)[0], array(together)[i]).mean() < 0.01


def test_dataset_leaves_degradation_to_the_model(tmp_path):
    for name, shade in (('a', 60), ('a', 90), ('b', 120), ('b', 150)):
        (tmp_path / name).mkdir(exist_ok=True)
        img = np.random.default_rng(shade).integers(0, 256, (32, 32, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name / f'{shade}.png'), img)
    opt = {'dataroot': str(tmp_path), 'gt_size': 32, 'hard_degradation': 'ffhq_ref_severe'}
    dataset = ReferencePairDataset({**opt, 'degrade_on': 'model'})
    batch = default_collate([dataset[0], dataset[1]])
    assert batch['lq_draw'].shape == batch['lq_hard_draw'].shape == (2, 8) and 'lq' not in batch
    done = add_degraded(batch, torch.device('cpu'))
    assert not [key for key in done if key.endswith('_draw')]
    assert done['lq'].shape == done['gt'].shape and not torch.equal(done['lq'], done['lq_hard'])
    assert done['lq'].min() >= -1 and done['lq'].max() <= 1
    unchanged = {'lq': torch.zeros(1), 'gt': torch.zeros(1)}
    assert add_degraded(unchanged, torch.device('cpu')) is unchanged
    with pytest.raises(RefStarError, match='degrade_on: expected loader or model'):
        ReferencePairDataset({**opt, 'degrade_on': 'gpu'})
