"""Metrics: known answers, invariances, and regions without anything to measure."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric

from refstar.metrics.detail_metric import calculate_detail, high_pass
from refstar.metrics.identity_metric import calculate_id_gt, calculate_id_ref
from refstar.metrics.lpips_metric import lpips_network
from refstar.metrics.selection_metric import calculate_flow_error, calculate_mask_iou
from refstar.utils.errors import RefStarError


@pytest.fixture
def photo() -> np.ndarray:
    """Smooth colours with fine spots on them, uint8 (96, 96, 3)."""
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (96, 96, 3)), (0, 0), 16)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (96, 96, 1)), (0, 0), 1)[..., None]
    image = 128 + 40 * smooth / smooth.std() + 25 * fine / fine.std()
    return image.clip(0, 255).astype(np.uint8)


def shrink(image: np.ndarray, down: int) -> np.ndarray:
    small = cv2.resize(image, None, fx=1 / down, fy=1 / down, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[:2], interpolation=cv2.INTER_LINEAR)


# ---------------------------------------------------------------- detail
def test_high_pass_halves_the_nyquist_frequency():
    down, x = 8, torch.arange(512, dtype=torch.float64)
    for period, passed in ((2 * down, 0.5), (8 * 2 * down, 0.01), (2 * down / 4, 1.0)):
        wave = torch.cos(2 * torch.pi * x / period).expand(1, 1, 64, 512)
        kept = high_pass(wave, down)[0, 0, 32, 128:384].abs().max()
        assert kept == pytest.approx(passed, abs=0.01)


def test_detail_is_what_a_shrunk_photo_has_lost(photo):
    assert calculate_detail(photo, photo, down=8) == pytest.approx(1)
    assert calculate_detail(shrink(photo, 8), photo, down=8) < 0.35
    other = np.roll(photo, 37, axis=1)
    assert abs(calculate_detail(other, photo, down=8)) < 0.15


def test_detail_ignores_colour_and_contrast(photo):
    tinted = (photo * np.array([0.5, 0.6, 0.55])).astype(np.uint8)
    assert calculate_detail(tinted, photo, down=8) > 0.98
    inverted = 255 - photo
    assert calculate_detail(inverted, photo, down=8) == pytest.approx(-1, abs=1e-6)


def test_detail_looks_inside_the_region_only(photo):
    mask, broken = np.zeros((96, 96)), photo.copy()
    mask[:40] = 1
    broken[60:] = np.random.default_rng(1).integers(0, 255, broken[60:].shape)
    assert calculate_detail(broken, photo, down=4, mask=mask) == pytest.approx(1, abs=1e-3)
    assert calculate_detail(broken, photo, down=4) < 0.5


def test_detail_where_there_is_none_is_defined(photo):
    grey = np.full_like(photo, 128)
    assert calculate_detail(grey, grey + 5, down=8) == 1
    assert calculate_detail(photo, grey, down=8) == 0
    assert calculate_detail(grey, photo, down=8) == 0
    assert np.isnan(calculate_detail(photo, photo, down=8, mask=np.zeros((96, 96))))


def test_detail_errors(photo):
    with pytest.raises(RefStarError, match='differ in shape'):
        calculate_detail(photo, photo[:50], down=8)
    with pytest.raises(RefStarError, match='down is 1'):
        calculate_detail(photo, photo, down=1)
    with pytest.raises(RefStarError, match='differ in size'):
        calculate_detail(photo, photo, down=8, mask=np.ones((48, 48)))


# ---------------------------------------------------------------- selection and correspondence
def test_flow_error_is_in_pixels():
    truth, known = np.zeros((2, 64, 64)), np.zeros((64, 64))
    known[:32] = 1
    flow = truth + np.array([3, 4])[:, None, None] * (2 / 64)
    flow[:, 32:] = 9  # nothing is known there
    assert calculate_flow_error(flow, truth, known) == pytest.approx(5)
    assert np.isnan(calculate_flow_error(flow, truth, known * 0))


def test_mask_iou():
    a, b = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    assert calculate_mask_iou(a, b) == 1  # nothing selected of another person is right
    a[:2], b[1:3] = 255, 255
    assert calculate_mask_iou(a, b) == pytest.approx(1 / 3)
    assert calculate_mask_iou(a / 255, b / 255) == pytest.approx(1 / 3)
    assert calculate_mask_iou(a > 0, b > 0) == pytest.approx(1 / 3)
    assert calculate_mask_iou(a, np.zeros_like(a)) == 0
    with pytest.raises(RefStarError, match='differ in shape'):
        calculate_mask_iou(a, b[:2])


# ---------------------------------------------------------------- LPIPS
def test_lpips_known_answer(faces_root):
    """The example in torchmetrics' documentation of LPIPS-squeeze."""
    generator = torch.Generator().manual_seed(42)
    x, y = (torch.rand(2, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2))
    net = lpips_network('squeeze', str(faces_root / 'weights' / 'squeezenet1_1_features.pth'), 'cpu')
    with torch.no_grad():
        torch.testing.assert_close(net(x, y).flatten(), torch.tensor([0.1024, 0.0938]), rtol=0, atol=5e-5)


# ---------------------------------------------------------------- identity
def test_identity_metrics(photo, identity_weights):
    network = {'network': 'mobilefacenet', 'weights': identity_weights}
    other = 255 - photo
    assert calculate_id_gt(photo, photo, **network) == pytest.approx(1, abs=1e-5)
    alone = [calculate_id_ref(photo, [x], **network) for x in (photo, other)]
    assert calculate_id_ref(photo, [photo, other], **network) == pytest.approx(np.mean(alone), abs=1e-6)
    assert calculate_id_gt(photo, other, **network) == pytest.approx(alone[1], abs=1e-6)
    assert np.isnan(calculate_id_ref(photo, [], **network))


# ---------------------------------------------------------------- BasicSR
def test_all_are_called_through_basicsr(photo, identity_weights, squeeze_weights):
    data = {'img': photo, 'img2': photo, 'refs': [photo], 'mask': np.ones((96, 96))}
    network = {'network': 'mobilefacenet', 'weights': identity_weights}
    options = [
        {'type': 'calculate_detail', 'down': 8, 'crop_border': 4},
        *({'type': f'calculate_id_{name}', **network} for name in ('gt', 'ref')),
        {'type': 'calculate_mask_iou'},
    ]
    for option in options:
        assert calculate_metric(data, option) == pytest.approx(1, abs=1e-5)
    assert calculate_metric(data, {'type': 'calculate_lpips', 'weights': squeeze_weights}) == 0
