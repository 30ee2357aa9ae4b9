"""Blur and resizing in one: what filter2D and resize give, for every kind of kernel, size and border."""

import cv2
import numpy as np
import pytest

from refstar.data.blur import blur_and_resize, covariance, gaussian_kernel
from refstar.data.degradation import PRESETS, Degradation
from refstar.data.synthetic.identity import person
from refstar.data.synthetic.render_photo import draw_shot, take_photo

SIZE = 192
# sigmas, angle, side of the kernel: isotropic, elliptic and nearly linear ones, with both, one or no axis halved
KERNELS = [
    (0.5, 0.5, 0.0, 5),
    (2.4, 2.4, 0.0, 21),
    (3, 3, 0.0, 25),
    (10, 10, 0.0, 41),
    (10, 3, 0.8, 41),
    (3, 9, -2.5, 39),
    (9, 0.3, 0.7, 41),
    (6, 1, 0.0, 41),
    (1, 6, 0.1, 41),
    (0.0, 4, 0.3, 33),
]


@pytest.fixture(scope='module')
def photo():
    return take_photo(person(0, 1, SIZE), draw_shot(np.random.default_rng(1)), SIZE).image


GRAIN = np.random.default_rng(0).random((SIZE, SIZE, 3), dtype=np.float32)


def error(img, sigma_x, sigma_y, theta, size, height, width):
    """Difference from the two steps in 8-bit levels."""
    kernel = gaussian_kernel(size, covariance(sigma_x, sigma_y, theta))
    blurred = cv2.filter2D(img, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    expected = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    found = blur_and_resize(img, sigma_x, sigma_y, theta, size, height, width)
    assert found.shape == expected.shape and found.dtype == np.float32
    return np.abs(found - expected) * 255


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('side', [220, 150, 47, 9])
def test_blur_is_that_of_filter2d_and_resize(photo, kernel, side):
    for img, largest, mean in ((photo, 4, 0.2), (GRAIN, 6, 1.2)):  # nothing loses more by halving than white noise
        levels = error(img, *kernel, side, side)
        assert levels.max() < largest and levels.mean() < mean, (levels.max(), levels.mean())


@pytest.mark.parametrize('name', PRESETS)
def test_blur_of_the_presets_is_close(photo, name):
    degradation = Degradation.from_option({'preset': name, 'reference_size': SIZE}, SIZE)  # kernels as at 512 pixels
    rng = np.random.default_rng(0)
    draws = [degradation.draw(rng, (SIZE, SIZE)) for _ in range(25)]
    levels = [
        error(photo, draw.sigma_x, draw.sigma_y, draw.theta, draw.kernel, draw.height, draw.width)
        for draw in draws
        if draw.kernel >= 3
    ]
    assert max(level.max() for level in levels) < 5
    assert np.mean([level.mean() for level in levels]) < 0.1


@pytest.mark.parametrize('shape', [(64, 97), (33, 20), (21, 64), (5, 6)])
def test_blur_of_oblong_odd_and_tiny_images(shape):
    img = np.ascontiguousarray(GRAIN[: shape[0], : shape[1]])
    for kernel in ((3, 3, 0.0, 21), (4, 2.6, 0.5, 9), (4, 1, 0.5, 9), (1, 1, 0.0, 9)):
        assert error(img, *kernel, 11, 7).max() < 8
        assert error(img, *kernel, *shape).max() < 8


def test_kernel_follows_its_angle():
    turned = gaussian_kernel(21, covariance(4.0, 1.0, np.pi / 4))
    assert turned[13, 13] > 10 * turned[13, 7]
