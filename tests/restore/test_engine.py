"""Masks, colours and the memory of the engine."""

import cv2
import numpy as np
import pytest
import torch
from helpers.fake_gpu import devices, fake_gpu
from helpers.networks import make
from helpers.restoring import SIZE, network, picture

from refstar.restore import engine
from refstar.restore.engine import blur, keep_colour
from refstar.restore.face_masks import allowed_area
from refstar.restore.restorer import Restorer
from refstar.utils.image_files import to_image, to_tensor


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer(network())


def test_regions_and_threshold_edit_the_mask(restorer):
    lq, refs = picture(0), [picture(1)]
    plain, free = restorer(lq).image, restorer(lq, refs)
    assert (restorer(lq, refs, keep=['face', 'outside']).image == plain).all()
    part = restorer(lq, refs, use=['mouth'])
    outside = allowed_area(['mouth'], [], None, SIZE) == 0
    assert (part.mask[0][outside] == 0).all() and (part.mask[0] > 0).any()
    binary = restorer(lq, refs, mask_threshold=float(np.median(free.mask))).mask
    assert set(np.unique(binary)) == {0, 1}
    whole = restorer(lq, refs, mask_threshold=0).mask
    assert (whole == 1).all()


@pytest.mark.parametrize('refs', [0, 2])
def test_the_face_is_shrunk_to_what_the_backbone_takes(refs):
    """The result has the size of the network; selection and masks too."""
    restorer, lq = Restorer(make('RRDBNet x4')), picture(0)
    found = restorer(lq, [picture(i) for i in range(1, refs + 1)], keep=['mouth'] * bool(refs), colour=False)
    assert found.image.shape == (SIZE, SIZE, 3) and found.mask.shape == (refs, SIZE, SIZE)
    if not refs:
        small = cv2.resize(lq, (SIZE // 4, SIZE // 4), interpolation=cv2.INTER_AREA)
        with torch.no_grad():
            wanted = to_image(restorer.net.backbone(to_tensor(small)[None])[0])
        assert np.abs(found.image.astype(int) - wanted).max() <= 3  # rounding of the small photo


def test_colours_of_the_photo_are_kept():
    lq = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    warm = lq + torch.tensor([0.3, 0.0, -0.3])[:, None, None]
    alpha = torch.zeros(1, 1, 64, 64)
    assert torch.equal(keep_colour(warm, lq, alpha), warm)
    alpha[..., 32:] = 1
    out = keep_colour(warm, lq, alpha)
    assert torch.equal(out[..., :32], warm[..., :32])
    assert (out - lq)[..., 32:].abs().max() < 0.01
    detail = warm + 0.2 * (torch.arange(64) % 2 * 2 - 1)  # fine detail stays
    assert (keep_colour(detail, lq, alpha) - out - (detail - warm))[..., 32:].abs().max() < 0.01


@pytest.mark.parametrize('sigma', [0.5, 2, 8])
def test_blur_keeps_an_even_image(sigma):
    torch.testing.assert_close(blur(torch.full((1, 3, 40, 40), 0.3), sigma), torch.full((1, 3, 40, 40), 0.3))


def test_encoded_references_in_memory_are_bounded(monkeypatch):
    monkeypatch.setattr(engine, 'MAX_ENCODED', 2)
    one = Restorer(network())
    people = one.people([picture(i) for i in range(4)])
    first = one(picture(9), people).image
    assert sum(ref.encoded is not None for ref in people[0].references) == 2
    assert (one(picture(9), people).image == first).all()


def test_colours_are_kept_on_a_gpu_without_float64():
    """Apple GPUs have none."""
    with fake_gpu() as types:
        x = torch.ones(1, 3, 64, 64, device='cuda')
        assert devices(keep_colour(x, x, x[:, :1])) == {'cuda'}
    assert torch.float64 not in types.seen
