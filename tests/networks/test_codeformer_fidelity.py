"""CodeFormer's `w` reaches the image through RefSTAR, and is left to the backbone at strength 0."""

import pytest
import torch
from helpers.networks import image, images, make, run


@pytest.fixture(scope='module')
def net():
    return make('CodeFormer')


def test_w_lets_the_photo_in(net):
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    out = {w: run(net, lq, refs, w=w) for w in (0, 0.5, 1)}
    assert torch.equal(out[0], run(net, lq, refs))
    assert all((out[a] - out[b]).abs().mean() > 1e-3 for a, b in ((0, 0.5), (0.5, 1)))


@pytest.mark.parametrize('w', [0.5, 1])
def test_strength_0_is_the_backbone_with_its_w(net, w):
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    with torch.no_grad():
        plain = image(net.backbone(lq, w=w))
    assert torch.equal(run(net, lq, refs, strength=0.0, w=w), plain)
