"""StyleGAN2DiscriminatorClean is BasicSR's StyleGAN2Discriminator, without compiled operators."""

import pytest
import torch
from basicsr.archs.stylegan2_arch import StyleGAN2Discriminator

from refstar.stylegan2_discriminator_clean_arch import StyleGAN2DiscriminatorClean
from refstar.utils.errors import RefStarError


@pytest.mark.parametrize(
    ('size', 'options'),
    [
        (16, {'narrow': 0.5}),
        (64, {'narrow': 0.25}),
        (128, {'narrow': 0.0625, 'channel_multiplier': 1}),
        (16, {'narrow': 0.1, 'resample_kernel': (1, 2, 5), 'stddev_group': 2}),
    ],
)
def test_equals_stock(size, options):
    """The stock network runs on the CPU through this project's compatibility layer."""
    torch.manual_seed(0)
    theirs, ours = StyleGAN2Discriminator(size, **options), StyleGAN2DiscriminatorClean(size, **options)
    for p in theirs.parameters():
        torch.nn.init.normal_(p)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)  # nothing of ours is missing there either
    x = torch.randn(4, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_second_derivative_is_right():
    torch.manual_seed(0)
    net = StyleGAN2DiscriminatorClean(8, narrow=0.01).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: net(x), x, nondet_tol=1e-9, fast_mode=True)


@pytest.mark.parametrize('size', [4, 48, 2048])
def test_impossible_size_is_named(size):
    with pytest.raises(RefStarError, match=str(size)):
        StyleGAN2DiscriminatorClean(size)


def test_wrong_input_is_named():
    net = StyleGAN2DiscriminatorClean(8, narrow=0.05)
    with pytest.raises(RefStarError, match='16x16'):
        net(torch.zeros(1, 3, 16, 16))
    with pytest.raises(RefStarError, match='batch of 6'):
        net(torch.zeros(6, 3, 8, 8))
