"""StyleGAN2DiscriminatorClean is BasicSR's StyleGAN2Discriminator, without compiled operators."""

import pytest
import torch

from refstar.stylegan2_discriminator_clean_arch import StyleGAN2DiscriminatorClean
from refstar.utils.errors import RefStarError


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
