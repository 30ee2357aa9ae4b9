"""LPIPS (Zhang et al. 2018, v0.1) from the `lpips` package, with the backbone's weights from a file.

The package itself would download the backbone. The weights of the linear layers are in the package.
"""

import warnings
from pathlib import Path

import torch
from torch import nn

from refstar.utils.checkpoint import load_fitting, read_state_dict
from refstar.utils.errors import RefStarError

# Name -> the file of torchvision that fits, for messages.
BACKBONES = {
    'alex': 'alexnet-owt-7be5be79.pth',
    'vgg': 'vgg16-397923af.pth',
    'squeeze': 'squeezenet1_1-b8a52dc0.pth',
}


def load_lpips(net: str, weights: str | Path | None) -> nn.Module:
    """Build a frozen LPIPS network; values of different nets ('alex', 'vgg', 'squeeze') are not comparable.

    Args:
        weights (str | Path | None): file of the ImageNet backbone: torchvision's, or its ``features`` alone.

    Returns:
        nn.Module: called with two images (b, 3, H, W), RGB in [-1, 1]; returns distances (b, 1, 1, 1).

    Raises:
        RefStarError: unknown net, no or unreadable weights, or weights of another network.
    """
    if net not in BACKBONES:
        raise RefStarError(f'LPIPS: unknown net {net!r}; known are {", ".join(BACKBONES)}')
    what = f'LPIPS-{net} (key weights; the ImageNet backbone, {BACKBONES[net]} of torchvision)'
    state = read_state_dict(weights, what)
    state = {k.removeprefix('features.'): v for k, v in state.items() if not k.startswith('classifier.')}

    import lpips

    # The random initial weights are replaced: they must not change the caller's random numbers.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the package uses an old spelling of torchvision's argument
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    # The package deals the backbone's layers out over slice1, slice2, ... and keeps their numbers.
    layer = {key.split('.', 1)[1]: key for key in model.net.state_dict()}
    load_fitting(model.net, {layer.get(key, key): value for key, value in state.items()}, weights)
    return model.eval().requires_grad_(False)
