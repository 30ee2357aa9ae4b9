"""Blur and down-sampling in one: what filter2D and resize give, for every kind of kernel, size and border."""

import math

import cv2
import numpy as np
import pytest

from refstar.data import blur
from refstar.data.blur import anisotropic_kernel, blur_and_shrink
from refstar.data.degradation import PRESETS, Degradation
from refstar.data.synthetic.identity import person
from refstar.data.synthetic.photo import draw_shot, take_photo

SIZE = 192


@pytest.fixture(scope='module')
def photo():
    return take_photo(person(0, 1, SIZE), draw_shot(np.random.default_rng(1)), SIZE).image.astype(np.float32).clip(0, 1)


@pytest.fixture(scope='module')
def grain():
    return np.random.default_rng(0).random((SIZE, SIZE, 3), dtype=np.float32)


def two_steps(img, sigma_x, sigma_y, theta, size, height, width):
    kernel = anisotropic_kernel(size, sigma_x, sigma_y, theta)
    blurred = cv2.filter2D(img, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)


def levels(img, *blurring):
    found, expected = blur_and_shrink(img, *blurring), two_steps(img, *blurring)
    assert found.shape == expected.shape and found.dtype == np.float32
    return np.abs(found - expected) * 255


# each of the ways, and the limits between them: sigmas, angle, side of the kernel
KERNELS = [
    (0.5, 0.5, 0.0, 5),
    (2.9, 2.9, 0.0, 25),
    (3, 3, 0.0, 25),
    (10, 10, 0.0, 41),
    (16, 16, 0.0, 41),
    (10, 3, 0.8, 41),
    (3, 9, -2.5, 41),
    (8, 12, 0.3, 39),
    (10, 2.9, 0.8, 41),
    (9, 0.3, 0.7, 41),
    (0.1, 6, 1.2, 41),
    (0.0, 4, 0.3, 33),
    (1.5, 2, 0.1, 17),
]


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('side', [220, 150, 47, 9])
def test_it_is_filter2d_and_resize(photo, grain, kernel, side):
    for img, most, average in ((photo, 1, 0.05), (grain, 1.5, 0.1)):  # grain: nothing is harder to halve
        error = levels(img, *kernel, side, side)
        assert error.max() < most and error.mean() < average, (error.max(), error.mean())


@pytest.mark.parametrize('name', PRESETS)
def test_draws_of_the_presets(photo, name):
    degradation = Degradation.from_option({'preset': name, 'reference_size': SIZE}, SIZE)  # kernels as at 512 pixels
    rng, errors = np.random.default_rng(0), []
    for _ in range(25):
        draw = degradation.draw(rng, (SIZE, SIZE), field=False)
        if draw.kernel >= 3:
            blurring = draw.sigma_x, draw.sigma_y, draw.theta, draw.kernel, draw.height, draw.width
            errors.append(levels(photo, *blurring))
    assert max(error.max() for error in errors) < 1
    assert np.mean([error.mean() for error in errors]) < 0.03


@pytest.mark.parametrize('shape', [(64, 97), (33, 20), (21, 64), (5, 5)])
def test_oblong_odd_and_tiny_images(grain, shape):
    img = np.ascontiguousarray(grain[: shape[0], : shape[1]])
    for kernel in ((3, 3, 0.0, 21), (4, 2.6, 0.5, 9), (4, 1, 0.5, 9), (1, 1, 0.0, 9)):
        assert levels(img, *kernel, 11, 7).max() < 1.5
        assert levels(img, *kernel, *shape).max() < 1.5


def test_plain_images_stay_plain():
    """What is left out of a kernel does not darken the photo."""
    white = np.ones((SIZE, SIZE, 3), np.float32)
    for kernel in KERNELS:
        assert np.abs(blur_and_shrink(white, *kernel, 50, 50) - 1).max() < 1e-4


def test_every_way_is_taken(photo, monkeypatch):
    taken = []
    for name in ('_with_taps', '_with_products'):
        way = getattr(blur, name)
        monkeypatch.setattr(blur, name, lambda *args, way=way, name=name: taken.append(name) or way(*args))
    for kernel in KERNELS:
        blur_and_shrink(photo, *kernel, 48, 48)
    assert {'_with_taps', '_with_products'} == set(taken) and len(taken) == len(KERNELS)
    monkeypatch.setattr(blur, 'MOST_WORK', 0)
    assert levels(photo, 9, 1, math.pi / 4, 41, 48, 48).max() < 1e-3
    assert len(taken) == len(KERNELS)
