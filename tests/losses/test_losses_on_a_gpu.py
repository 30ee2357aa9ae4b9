"""Every loss runs on a GPU that has shapes, but no values: nothing is left on the host, nothing is read back."""

import pytest
import torch
from basicsr.utils.registry import LOSS_REGISTRY
from helpers.fake_gpu import devices, fake_gpu
from torch import Tensor
from torch.utils._pytree import tree_map

from refstar.trainer import import_hook

import_hook.register_all()
LOSSES = [name for name, loss in LOSS_REGISTRY._obj_map.items() if loss.__module__.startswith('refstar')]
SIDE = 64


def ones(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.ones(shape, dtype=dtype)


def valid(*shape: int) -> Tensor:
    return ones(*shape, dtype=torch.bool)


PHOTOS, REFS, MASKS = ones(2, 3, SIDE, SIDE), ones(2, 2, 3, SIDE, SIDE), ones(2, 2, 1, SIDE, SIDE)
ARGUMENTS = {  # of forward
    'CodePredictionLoss': [ones(2, 16, 8), ones(2, 4, 4, 4), ones(2, 16).long(), ones(2, 4, 4, 4)],
    'CorrespondenceLoss': [ones(2, 2, 16, 16), [ones(2, 2, 2, 4, 4)], ones(2, 2, 2, SIDE, SIDE), MASKS],
    'CycleConsistencyLoss': [PHOTOS, PHOTOS, MASKS[:, 0]],
    'HardExampleIdentityLoss': [PHOTOS, PHOTOS, REFS, valid(2, 2)],
    'LPIPSLoss': [PHOTOS, PHOTOS],
    'PersonLoss': [ones(2, 4), valid(2, 4), valid(2, 4), ones(2, 8), ones(2, 8)],
    'SelectionLoss': [MASKS, MASKS, valid(2, 2)],
}


@pytest.mark.parametrize('name', LOSSES)
def test_every_loss_stays_on_its_device(name: str, identity_weights: str, squeeze_weights: str) -> None:
    lpips = {'weights': squeeze_weights, 'augment': True}
    options = {
        'CycleConsistencyLoss': {'perceptual': lpips},
        'HardExampleIdentityLoss': {'network': 'mobilefacenet', 'weights': identity_weights, 'focus': 1},
        'LPIPSLoss': lpips,
    }
    loss = LOSS_REGISTRY.get(name)(**options.get(name, {}))
    with fake_gpu():
        arguments = tree_map(lambda x: x.to('cuda'), ARGUMENTS[name])
        assert devices(loss.to('cuda')(*arguments)) == {'cuda'}
