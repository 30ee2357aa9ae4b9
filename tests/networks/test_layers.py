"""Resizing in its faster ways is torch's resizing; a mix of nothing is the feature itself."""

import pytest
import torch
import torch.nn.functional as F

from refstar.layers import enlarge, identity_grid, resize, warp
from refstar.transfer import Transfer


@pytest.mark.parametrize('size', [(8, 8), (5, 4), (4, 10), (3, 3), (12, 20), (1, 1)])
def test_resize(size):
    x = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    mode = {'mode': 'area'} if size[0] < 12 else {'mode': 'bilinear', 'align_corners': False}
    torch.testing.assert_close(resize(x, size), F.interpolate(x, size, **mode))


@pytest.mark.parametrize('size', [(8, 8), (13, 9), (3, 8)])
def test_enlarge(size):
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64).requires_grad_()
    wanted, found = F.interpolate(x, size, mode='bilinear', align_corners=False), enlarge(x, size)
    torch.testing.assert_close(found, wanted)
    seen = torch.randn_like(found)
    gradients = [torch.autograd.grad((y * seen).sum(), x)[0] for y in (wanted, found)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('kind', [torch.float32, torch.bfloat16])
def test_a_mix_of_nothing_is_bit_equal(kind):
    transfer, feature = Transfer(6, 4, structure_size=2), torch.randn(2, 6, 8, 8).to(kind)
    alpha = torch.zeros(2, 1, 16, 16)
    alpha[:, :, :8] = 1
    with torch.autocast('cpu', torch.bfloat16, enabled=kind is torch.bfloat16):
        mixed = transfer(feature, torch.randn(2, 4, 8, 8), alpha)
    assert mixed.dtype is kind
    assert torch.equal(mixed[:, :, 4:], feature[:, :, 4:]) and not torch.equal(mixed[:, :, :4], feature[:, :, :4])


@pytest.mark.parametrize('trained', ['image', 'flow'])
@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_samples_at_no_position_are_nan_and_have_no_gradient(bad, trained):
    """On a CPU torch's backward pass writes outside of its memory there."""
    x, flow = torch.randn(1, 2, 8, 8), identity_grid(8, 8, torch.empty(0)) * 0.9
    wanted = F.grid_sample(x, flow.permute(0, 2, 3, 1), padding_mode='border', align_corners=False)
    flow[:, 0, :2] = bad
    {'image': x, 'flow': flow}[trained].requires_grad_()
    found = warp(x, flow)
    assert found[:, :, :2].isnan().all() and torch.equal(found[:, :, 2:], wanted[:, :, 2:])
    found.sum().backward()
    gradient = {'image': x, 'flow': flow}[trained].grad
    assert gradient.isfinite().all() and gradient.any()
