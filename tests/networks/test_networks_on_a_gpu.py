"""Every network runs on a GPU that has shapes, but no values: nothing is left on the host, nothing is read back."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from helpers import networks
from helpers.fake_gpu import devices, fake_gpu
from helpers.networks import SIZE
from helpers.shrink import NETWORKS
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from refstar.trainer import import_hook

import_hook.register_all()
ARCHS = {name: arch for name, arch in ARCH_REGISTRY._obj_map.items() if arch.__module__.startswith('refstar')}
SIDES = {'MobileFaceNet': 112, 'DlibFaceNet': 150, 'LandmarkNet68': 112}  # of photos, where it is not SIZE
SHAPES = {'refs': (2, 2, 3, SIZE, SIZE), 'ref_valid': (2, 2), 'mask': (2, 2, 1, SIZE, SIZE), 'strength': (2,)}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def built(name: str, weights: str) -> nn.Module:
    """The network, small."""
    given = dict.fromkeys(('backbone', 'mean'), networks.RRDB) | {'network': 'mobilefacenet', 'weights': weights}
    given |= NETWORKS.get(name, {})
    known = inspect.signature(ARCHS[name]).parameters
    return ARCHS[name](**{key: value for key, value in given.items() if key in known}).eval()


def inputs(net: nn.Module, side: int) -> dict[str, Tensor]:
    """Arguments of a forward pass by name: the first is a batch of photos; of the others, those whose form is known."""
    first, *others = inspect.signature(net.forward).parameters
    shapes = {name: SHAPES[name] for name in others if name in SHAPES}
    shapes[first] = SHAPES.get(first, (2, 3, side, side))
    given = {name: torch.ones(shape, device='cuda') for name, shape in shapes.items()}
    return {name: x.bool() if name == 'ref_valid' else x for name, x in given.items()}


@pytest.mark.parametrize('name', ARCHS)
def test_every_arch_stays_on_its_device(name: str, identity_weights: str) -> None:
    net = built(name, identity_weights)
    with fake_gpu() as types:
        net.to('cuda')
        assert devices(net(**inputs(net, SIDES.get(name, SIZE)))) == {'cuda'}
    assert torch.float64 not in types.seen  # which Apple GPUs do not have


@pytest.mark.parametrize('name', networks.BACKBONES)
def test_references_in_every_backbone(name: str) -> None:
    net = networks.make(name, context=True)
    with fake_gpu() as types:
        net.to('cuda')
        assert devices(net(**inputs(net, net.lq_size), return_aux=True)) == {'cuda'}
    assert torch.float64 not in types.seen


@pytest.mark.parametrize('how', [{'chunk': 1}, {'combine': 'guidance'}, {'mask': None}], ids=str)
def test_every_way_of_combining_references(how: dict[str, Any]) -> None:
    net = networks.make('RRDBNet')
    with fake_gpu():
        net.to('cuda')
        assert devices(net(**inputs(net, SIZE) | how, return_aux=True)) == {'cuda'}


def test_what_a_gpu_would_wait_for_or_refuse_is_seen() -> None:
    with fake_gpu() as types:
        x = torch.ones(2, 3, device='cuda')
        with pytest.raises(RuntimeError, match='two devices'):
            x + torch.ones(3)
        with pytest.raises(DataDependentOutputException):
            x.sum().item()
        with pytest.raises(DynamicOutputShapeException):
            x[x > 0]
        x.double()
    assert torch.float64 in types.seen
