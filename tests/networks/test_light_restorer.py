"""The light backbone of the network that ships."""

import pytest
import torch
from helpers.networks import images, make, run

from refstar.light_arch import LightRestorer
from refstar.utils.errors import RefStarError


@pytest.mark.parametrize(('octave', 'shape'), [(0, (16, 24)), (8, (32, 48))])
def test_untrained_it_returns_the_photo(octave, shape):
    photo = torch.rand(2, 3, *shape) * 2 - 1
    net = LightRestorer([8, 16], 1, octave)
    assert torch.equal(net(photo), photo)
    assert torch.equal(net.eval()(photo), photo)


def test_limits_that_have_no_meaning_are_refused():
    for keep in ([0.5], [0.5, 0.006], [0.5, -1, 2], [1, 2, 3, 4]):
        with pytest.raises(RefStarError, match='LightRestorer: keep is'):
            LightRestorer([8, 16], 1, keep=keep)


def test_small_corrections_are_left_away_in_use():
    net = LightRestorer([8, 16], 1)
    torch.nn.init.normal_(net.out[-1].weight, std=1e-3)
    photo = images(1, size=64)[0][None]
    with torch.no_grad():
        learned, used = (net.train(mode)(photo) - photo for mode in (True, False))
    assert 0 < used.abs().mean() < 0.2 * learned.abs().mean()


def test_the_octave_goes_on_from_half_the_size():
    """A network for half the size, with an octave that adds nothing, enlarges its correction."""
    half, net = LightRestorer([8, 16], 1), LightRestorer([8, 16], 1, octave=8)
    torch.nn.init.normal_(half.out[-1].weight)
    assert net.load_state_dict(half.state_dict(), strict=False).unexpected_keys == []
    photo = images(1, size=32)[0].expand(1, -1, -1, -1)
    small = torch.nn.functional.avg_pool2d(photo, 2)
    with torch.no_grad():
        correction = torch.nn.functional.avg_pool2d(net(photo) - photo, 2)
        torch.testing.assert_close(correction.mean(), (half(small) - small).mean(), atol=1e-4, rtol=1e-3)


def test_full_size_texture_of_the_reference_arrives():
    """A reference that differs in single pixels alone changes the output in single pixels."""
    net, photo, refs = make('LightRestorer'), images(1, seed=1), images(1, 1, seed=2)
    stripes = torch.arange(32).remainder(2) * 0.4 - 0.2
    change = run(net, photo, refs + stripes) - run(net, photo, refs)
    fine = change[..., 1:] - change[..., :-1]
    assert fine.abs().mean() > 0.3 * change.abs().mean() > 0
