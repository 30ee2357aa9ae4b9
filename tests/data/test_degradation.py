"""Degradation: published ranges, scaling with the size, determinism, clear errors."""

import cv2
import numpy as np
import pytest
from scipy.stats import binomtest, chisquare, kstest

from refstar.data.degradation import PRESETS, Degradation
from refstar.utils.errors import RefStarError

# peers' option files at 512 pixels: sigma, down, noise, JPEG
PUBLISHED = {
    'gfpgan': ((0.1, 10), (0.8, 8), (0, 20), (60, 100)),
    'ffhq_ref_moderate': ((0, 8), (1, 8), (0, 15), (60, 100)),
    'ffhq_ref_severe': ((8, 16), (8, 32), (0, 20), (30, 100)),
    'ffhq_ref_train': ((0, 16), (1, 32), (0, 20), (30, 100)),
    'codeformer_small': ((0.1, 10), (1, 12), (0, 15), (60, 100)),
    'codeformer_large': ((1, 15), (4, 30), (0, 20), (30, 80)),
}


@pytest.mark.parametrize('name', PRESETS)
def test_degraded_image_follows_its_seed(name):
    d = Degradation.from_option(name, 64)
    img = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    before = img.copy()
    a, b = d(img, np.random.default_rng(3)), d(img, np.random.default_rng(3))
    assert a.shape == img.shape and a.dtype == np.uint8
    assert np.array_equal(a, b) and np.array_equal(img, before)
    assert not np.array_equal(a, d(img, np.random.default_rng(4)))


def test_small_faces_keep_the_same_information():
    """The number of pixels across the shrunken face does not depend on the size of the image."""
    severe = Degradation.from_option('ffhq_ref_severe', 128)
    assert severe.max_factor == 8 and Degradation.from_option('ffhq_ref_severe', 512).max_factor == 32
    assert Degradation.from_option('ffhq_ref_moderate', 64).max_factor == 1
    assert Degradation.from_option({'preset': 'ffhq_ref_severe', 'reference_size': 128}, 128).max_factor == 32


def test_down_sampling_removes_what_is_above_nyquist():
    stripes = np.tile(np.array([0.2, 0.8], np.float32), (64, 32))[..., None].repeat(3, 2)
    option = {'blur_sigma': [4, 4], 'downsample_range': 8, 'noise_range': None, 'jpeg_range': None}
    d = Degradation.from_option({**option, 'reference_size': 64}, 64)
    assert d(stripes, np.random.default_rng(0))[8:-8, 8:-8].std() < 0.02 * 255


def test_the_last_step_leads_to_the_side_of_the_lq():
    """What is shrunk to that side already is not resized again."""
    img = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    option = {'blur_sigma': 0, 'noise_range': None, 'jpeg_range': None, 'reference_size': 64}
    lq = {
        factor: Degradation.from_option({**option, 'downsample_range': factor}, 64, scale=4)(img, rng)
        for factor, rng in ((4, np.random.default_rng(0)), (1, np.random.default_rng(0)))
    }
    shrunk = cv2.resize(img, (16, 16), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(lq[4], cv2.convertScaleAbs(shrunk, alpha=255))
    averaged = cv2.resize(img, (16, 16), interpolation=cv2.INTER_AREA)
    assert np.abs(lq[1] / 255 - averaged).max() < 0.01


def test_noise_is_normal():
    option = {'blur_sigma': 0, 'downsample_range': 1, 'noise_range': 20, 'jpeg_range': None}
    field = Degradation.from_option(option, 512).draw(np.random.default_rng(0), (512, 512)).field
    assert field.shape == (512, 512, 3) and field.dtype == np.float32
    assert kstest(field.ravel(), 'norm').pvalue > 0.01
    assert abs(field.std() - 1) < 0.003 and 4.1 < np.abs(field).max() < 4.4
    assert abs(np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1]) < 0.005


DRAWS = 10_000
CHANCE = 1e-3  # a true distribution is refused as seldom as that; the draws below are seeded


@pytest.fixture(scope='module', params=PRESETS)
def drawn(request):
    """Ranges of a preset, and what is drawn from them at 512 pixels, as columns."""
    degradation, rng = Degradation.from_option(request.param, 512), np.random.default_rng(0)
    side = 10**9  # of an image, so that its shrunken side tells the factor
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('refstar.data.degradation._normal', lambda rng, shape: None)  # too large
        draws = [degradation.draw(rng, (side, side)) for _ in range(DRAWS)]
    names = ('sigma_x', 'sigma_y', 'theta', 'noise', 'quality')
    columns = {name: np.array([getattr(draw, name) for draw in draws]) for name in names}
    return PUBLISHED[request.param], {**columns, 'factor': side / np.array([draw.height for draw in draws])}


def test_draws_are_uniform_in_the_published_ranges(drawn):
    (sigma, down, noise, quality), found = drawn
    turned = found['sigma_x'] != found['sigma_y']
    assert binomtest(int(turned.sum()), DRAWS, 0.5).pvalue > CHANCE
    assert (found['theta'][~turned] == 0).all()
    for values, (low, high) in (
        (found['sigma_x'][~turned], sigma),
        (found['sigma_x'][turned], sigma),
        (found['sigma_y'][turned], sigma),
        (found['theta'][turned], (-np.pi, np.pi)),
        (found['factor'], down),
        (found['noise'] * 255, noise),
    ):
        assert kstest(values, 'uniform', (low, high - low)).pvalue > CHANCE
        assert kstest(values, 'uniform', (low, 1.1 * (high - low))).pvalue < CHANCE  # another range would be noticed
    low, high = quality
    assert set(found['quality']) == set(range(low, high + 1))
    assert chisquare(np.bincount(found['quality'] - low)).pvalue > CHANCE
    columns = np.stack([found[name] for name in ('sigma_x', 'factor', 'noise', 'quality')])
    assert np.abs(np.corrcoef(columns) - np.eye(4)).max() < 0.04  # one draw says nothing about another


def test_channel_order_survives_jpeg():
    red = np.zeros((16, 16, 3), np.float32)
    red[..., 0] = 1
    option = {'blur_sigma': 0, 'downsample_range': 1, 'noise_range': None, 'jpeg_range': 95}
    out = Degradation.from_option(option, 16)(red, np.random.default_rng(0))
    assert out[..., 0].min() > 0.9 * 255 and out[..., 1:].max() < 0.1 * 255


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('gfpgann', 'unknown preset'),
        ({'preset': 'gfpgan', 'noise_rang': [0, 1]}, 'noise_range'),
        ({'blur_sigma': [0, 1]}, 'downsample_range is missing'),
        ({'preset': 'gfpgan', 'jpeg_range': [60, 101]}, 'jpeg_range'),
        ({'preset': 'gfpgan', 'noise_range': [9, 1]}, 'noise_range'),
        ({'preset': 'gfpgan', 'blur_kernel_size': 40}, 'blur_kernel_size'),
        ({'preset': 'gfpgan', 'blur_sigma': -1}, 'blur_sigma'),
        (3, 'degradation: expected'),
    ],
)
def test_wrong_options_are_named(option, message):
    with pytest.raises(RefStarError, match=message):
        Degradation.from_option(option, 128)
