"""Lucas and Kanade's step, which refines a correspondence without learning."""

import pytest
import torch

from refstar import lucas_kanade
from refstar.layers import identity_grid, warp
from refstar.refsel_arch import RefSel


def texture(seed: int, size: int = 64) -> torch.Tensor:
    """A picture with structure at the scales that a degradation leaves, (1, 3, S, S) in [-1, 1]."""
    noise = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return (4 * lucas_kanade.smooth(noise, 3.0)).clamp(-1, 1)


def moved(x: torch.Tensor, shift: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture in which everything lies `shift` pixels further, and the flow of a 16 x 16 grid that leads there."""
    offset = torch.tensor(shift)[None, :, None, None] * (2 / x.shape[-1])
    return warp(x, identity_grid(*x.shape[-2:], x) - offset), identity_grid(16, 16, x) + offset


@pytest.mark.parametrize('shift', [(1.5, 0.0), (0.0, -1.0), (-1.0, 1.2)])
def test_it_finds_a_shift_whatever_the_light(shift):
    photo = texture(0)
    other, truth = moved(photo, shift)
    seen, shown = lucas_kanade.contrast(photo), lucas_kanade.contrast(0.5 * other - 0.3)
    flow = identity_grid(16, 16, photo)
    for _ in range(4):
        flow = flow + lucas_kanade.steps(seen, shown, flow)[:, -2:] * (2 / 16)
    middle = (..., slice(3, -3), slice(3, -3))
    assert ((flow - truth) * 32)[middle].abs().mean() < 0.15  # pixels


def test_nothing_to_compare_means_no_step():
    flat = lucas_kanade.contrast(torch.full((2, 3, 64, 64), 0.3))
    grid = identity_grid(16, 16, flat).expand(2, -1, -1, -1)
    assert torch.equal(lucas_kanade.steps(flat, flat, grid), torch.zeros(2, 4, 16, 16))


def test_the_correspondence_can_do_without():
    torch.manual_seed(0)
    photo, refs = texture(2), texture(3)[:, None]
    flows = {}
    for photometric in (True, False):
        torch.manual_seed(0)
        net = RefSel(64, 16, photometric=photometric)
        flows[photometric] = net(photo, refs, return_aux=True)[1]['match'].flows
    assert torch.equal(flows[True][0], flows[False][0])
    assert not torch.equal(flows[True][-1], flows[False][-1])
    assert torch.equal(flows[False][0], flows[False][-1])  # untrained, nothing else moves it
