"""Baselines of the ablation: they keep the promises that the ablation needs."""

import pytest
import torch
from ablation_networks import RefSTARNoSelection, RefSTARVanilla
from helpers.networks import BACKBONES, SIZE, bare, images, run


@pytest.fixture(params=[RefSTARNoSelection, RefSTARVanilla])
def net(request):
    torch.manual_seed(0)
    return request.param(BACKBONES['RRDBNet'], SIZE, refsel={'size': SIZE, 'channels': 8}, ref_channels=8).eval()


VALID = torch.tensor([[True, True, False], [False] * 3])


def test_references_matter_where_one_is_valid(net):
    lq, refs = images(2, seed=1), images(2, 3, seed=2)
    plain, out = bare(net, lq), run(net, lq, refs, VALID)
    assert torch.equal(out[1], plain[1])
    assert (out[0] - plain[0]).abs().max() > 1e-3


def test_strength_0_is_the_backbone(net):
    lq, refs = images(2, seed=1), images(2, 3, seed=2)
    assert torch.equal(run(net, lq, refs, VALID, strength=0.0), bare(net, lq))


def test_padding_has_no_influence(net):
    lq, refs = images(2, seed=1), images(2, 3, seed=2)
    out = run(net, lq, refs, VALID)
    refs[:, 2] = 100
    assert torch.equal(run(net, lq, refs, VALID), out)


def test_chunks_change_nothing(net):
    lq, refs = images(2, seed=1), images(2, 3, seed=2)
    torch.testing.assert_close(run(net, lq, refs, VALID, chunk=1), run(net, lq, refs, VALID), atol=1e-5, rtol=0)


def test_without_selection_the_whole_photo_is_mixed():
    torch.manual_seed(0)
    net = RefSTARNoSelection(BACKBONES['RRDBNet'], SIZE, refsel={'size': SIZE, 'channels': 8}, ref_channels=8)
    with torch.no_grad():
        alpha = net(images(2, seed=1), images(2, 3, seed=2), VALID, return_aux=True)[1]['alpha']
    assert alpha[0].mean() > 0.9 and not alpha[1].any()
