"""Every model trains and is validated on a GPU that has shapes, but no values.

An iteration runs with gradients of zeros and optimizers that do nothing. What the host reads of the results, for the
log and the metrics, comes later.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils.registry import MODEL_REGISTRY
from helpers.fake_gpu import devices, fake_gpu
from helpers.recipes import MODELS, OPTIONS, existing_options, parsed
from helpers.shrink import replace_files, shrink
from torch import Tensor, nn
from torch.utils.data import default_collate

from refstar.trainer import import_hook
from refstar.trainer.option_file import load_options
from refstar.trainer.training_step import take_over

import_hook.register_all()
OURS = [name for name, model in MODEL_REGISTRY._obj_map.items() if model.__module__.startswith('refstar')]
ALL = {path.name: load_options(path) for path in sorted((OPTIONS / 'train').glob('*.yml'))}
# Of every model the recipe with most losses, and that for codes.
BY_LOSSES = sorted(ALL, key=lambda name: sum(key.endswith('_opt') for key in ALL[name]['train']))
FOUND = {(ALL[name]['model_type'], 'network_vqgan' in ALL[name]): name for name in BY_LOSSES}
RECIPES = {name: ALL[name] for name in FOUND.values() if ALL[name]['model_type'] not in MODELS}
CASES = {**dict.fromkeys(MODELS), **RECIPES}


@contextmanager
def no_gradients(model: Any) -> Iterator[None]:
    """While open, backward passes give gradients of zeros, and optimizers do nothing."""

    def backward(loss: Tensor) -> None:
        for optimizer in model.optimizers:
            for group in optimizer.param_groups:
                for p in group['params']:
                    p.grad = torch.zeros_like(p)

    def grad(outputs: Any, inputs: Any, **options: Any) -> list[Tensor]:
        return [torch.zeros_like(x) for x in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]

    with (
        mock.patch.object(Tensor, 'backward', backward),
        mock.patch.object(torch.autograd, 'grad', grad),
        mock.patch.object(torch.optim.Adam, 'step', lambda self: None),
        mock.patch.object(torch.optim.AdamW, 'step', lambda self: None),
    ):
        yield


def send(model: Any, opt: dict[str, Any]) -> None:
    """Moves a model that was built for the CPU, with its training step, to the GPU; `opt` are its options, unread."""
    for value in vars(model).values():
        if isinstance(value, nn.Module):
            value.to('cuda')
    model.device = torch.device('cuda')
    model.opt |= {'num_gpu': 1, 'train': copy.deepcopy(opt['train'])}
    for name in ('optimize_parameters', 'training_step'):
        vars(model).pop(name)
    model.optimizers.clear()
    model.setup_optimizers()
    take_over(model)


def run_arm(model: Any, arm: str) -> Any:
    if hasattr(model, 'test_arm'):
        return model.test_arm(arm)
    model.arm, model.call = arm, {}
    model.test()
    return model.output


def test_every_model_has_a_case() -> None:
    covered = {ALL[name]['model_type'] if name in ALL else name for name in CASES}
    assert set(OURS) <= covered


@pytest.mark.parametrize('name', CASES)
def test_losses_and_arms_stay_on_the_gpu(name: str, tmp_path: Any, monkeypatch: Any) -> None:
    if CASES[name] is None:  # Real-ESRGAN's degradation is BasicSR's, and does read values
        opt = existing_options(name) | {'high_order_degradation': False}
    else:
        opt = shrink(replace_files(CASES[name], tmp_path / 'files'))
    opt = parsed(opt, tmp_path, monkeypatch)
    model = build_model(copy.deepcopy(opt))
    data = [build_dataset(block) for block in opt['datasets'].values()]  # training; validation, if there is one
    batch, photo = default_collate([data[0][i] for i in range(2)]), default_collate([data[-1][0]])
    with fake_gpu(), no_gradients(model):
        send(model, opt)
        model.feed_data(batch)
        model.optimize_parameters(16)  # R1 too
        losses = {key: value for key, value in model.log_dict.items() if key.startswith('l_')}
        assert losses and devices(losses) == {'cuda'}
        model.is_train = False
        model.feed_data(photo)
        with torch.no_grad():
            for arm in getattr(model, 'arms', ('right', 'none', 'wrong')):
                if arm != 'wrong' or 'wrong_refs' in photo:
                    assert devices(run_arm(model, arm)) == {'cuda'}
