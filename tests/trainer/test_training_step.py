"""A training step: mixed precision, clipping, skipped steps, memory format, compilation."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from basicsr.models import build_model
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
from helpers import networks
from helpers.networks import images
from helpers.recipes import built, existing_options, shipped
from helpers.waits import Waits
from torch import nn
from torch.utils.data import default_collate

from refstar.stylegan2_discriminator_clean_arch import ScaledConv
from refstar.trainer.network_setup import prepare_networks
from refstar.trainer.training_step import step_of
from refstar.utils.checkpoint import load_file
from refstar.utils.errors import RefStarError

L1 = {'type': 'L1Loss', 'loss_weight': 1.0}
SGD = {'type': 'SGD', 'lr': 0.1}


class Generator(nn.Sequential):
    """A network with BatchNorm, so with buffers that training changes."""

    def __init__(self, norm: bool = False) -> None:
        middle = nn.BatchNorm2d(8) if norm else nn.Identity()
        super().__init__(nn.Conv2d(3, 8, 3, padding=1), middle, nn.LeakyReLU(0.2), nn.Conv2d(8, 3, 3, padding=1))


class Discriminator(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for arch in (Generator, Discriminator):
        monkeypatch.setitem(ARCH_REGISTRY._obj_map, arch.__name__, arch)
    monkeypatch.setitem(MODEL_REGISTRY._obj_map, 'OwnModel', OwnModel)


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """A function that builds one of BasicSR's own models with keys of the block `train`."""

    def make_model(model: str = 'SRModel', norm: bool = False, **train: Any) -> Any:
        torch.manual_seed(0)
        adversarial = {'gan_opt': {'type': 'GANLoss', 'gan_type': 'wgan_softplus'}, 'optim_d': dict(SGD)}
        opt = {
            'model_type': model,
            'network_g': {'type': 'Generator', 'norm': norm},
            'network_d': {'type': 'Discriminator'},
            'path': {'models': str(tmp_path), 'training_states': str(tmp_path)},
            'logger': {},
            'train': {'optim_g': dict(SGD), 'pixel_opt': L1, 'ema_decay': 0.9}
            | {'scheduler': {'type': 'MultiStepLR', 'milestones': [99]}}
            | (adversarial if model == 'SRGANModel' else {})
            | train,
        }
        common = {'num_gpu': 0, 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'manual_seed': 0}
        return build_model({**opt, **common})

    return make_model


def batch(size: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    return {'lq': images(size, size=16, seed=seed), 'gt': images(size, size=16, seed=seed + 1)}


def set_scale(model: Any, scale: float) -> None:
    """Gives fp16 another loss scale than the 65536 that it begins with."""
    state = model.training_step.scaler.state_dict()
    model.training_step.scaler.load_state_dict({**state, 'scale': scale})


def steps(model: Any, *batches: dict[str, torch.Tensor]) -> None:
    for data in batches:
        model.iterations = iteration = getattr(model, 'iterations', 0) + 1
        model.update_learning_rate(iteration)
        model.feed_data(data)
        model.optimize_parameters(iteration)


def weights(model: Any) -> dict[str, torch.Tensor]:
    """All parameters and buffers: networks and EMA."""
    nets = {name: net for name, net in vars(model).items() if isinstance(net, nn.Module) and name.startswith('net_')}
    return {f'{name}.{key}': value.clone() for name, net in nets.items() for key, value in net.state_dict().items()}


def assert_close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert set(a) == set(b)
    for key in a:
        torch.testing.assert_close(a[key], b[key], msg=lambda text, key=key: f'{key}: {text}', **tolerance)


def existing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **train: Any) -> tuple[Any, Any]:
    """Returns an existing model with references, and its training set."""
    opt = existing_options(name)
    opt['train'].update(train)
    model, data = built(opt, tmp_path, monkeypatch)
    return model, data['train']


# --------------------------------------------------------------------- clipping
def test_clipping_is_to_the_norm_that_is_logged(make: Any) -> None:
    model, before = make(grad_clip=0.01), weights(make())
    steps(model, batch())
    moved = [(p.detach() - before[f'net_g.{key}']).norm() for key, p in model.net_g.named_parameters()]
    assert torch.stack(moved).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)
    free = make()
    steps(free, batch())
    norm = torch.stack([p.grad.norm() for p in free.net_g.parameters()]).norm()
    assert model.get_current_log()['grad_norm'] == pytest.approx(norm.item(), rel=1e-5)
    assert 'grad_norm' not in free.get_current_log()


# --------------------------------------------------------------------- mixed precision
@pytest.mark.parametrize('name', ['SRModel', 'SRGANModel'])
def test_bf16_trains_a_stock_model_like_float32(make: Any, name: str) -> None:
    mixed, plain = make(name, amp='bf16'), make(name)
    seen = []
    mixed.net_g[0].register_forward_hook(lambda m, inputs, out: seen.append(out.dtype))
    before = weights(plain)
    steps(mixed, batch()), steps(plain, batch())
    assert seen[0] == torch.bfloat16 and mixed.output.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in mixed.net_g.parameters())
    for key, value in weights(plain).items():
        moved, wanted = weights(mixed)[key] - before[key], value - before[key]
        assert (moved - wanted).norm() < 0.15 * wanted.norm(), key


def test_fp16_is_refused_for_models_that_call_backward_themselves(make: Any) -> None:
    with pytest.raises(RefStarError, match=r'train:amp: SRModel runs loss\.backward\(\) itself.*use bf16'):
        make(amp='fp16')


def test_bf16_trains_an_existing_model_with_references(tmp_path: Path, monkeypatch: Any) -> None:
    model, data = existing('RefGFPGANModel', tmp_path, monkeypatch, amp='bf16')
    before = weights(model)
    steps(model, *[default_collate([data[i] for i in range(4)])] * 2)
    assert all(math.isfinite(value) for value in model.get_current_log().values())
    assert any((weights(model)[key] != before[key]).any() for key in before if key.startswith('net_g.backbone'))


def test_r1_of_gfpgans_own_loop_stays_in_float32(tmp_path: Path, monkeypatch: Any) -> None:
    logs, seen, sample = [], [], None
    for amp in (None, 'bf16'):
        model, data = existing('RefGFPGANModel', tmp_path, monkeypatch, amp=amp, net_d_reg_every=1)
        sample = sample or default_collate([data[i] for i in range(2)])
        if amp:
            layer = next(layer for layer in model.net_d.modules() if isinstance(layer, ScaledConv))
            layer.register_forward_hook(lambda m, inputs, out: seen.append(out.dtype))
        steps(model, copy.deepcopy(sample))  # GFPGAN leaves a mark on it
        logs.append(model.get_current_log())
    assert seen == [torch.bfloat16] * 3 + [torch.float32]  # for net_g, of fake and real ones, for R1
    assert logs[0]['real_score'] != logs[1]['real_score'] == pytest.approx(logs[0]['real_score'], abs=0.05)
    assert logs[0]['l_d_r1'] > 0 and logs[1]['l_d_r1'] == pytest.approx(logs[0]['l_d_r1'], rel=1e-6)


def test_mixed_precision_of_our_recipe_keeps_positions_in_float32(tmp_path: Path, monkeypatch: Any) -> None:
    train = {'amp': 'bf16', 'channels_last': ['d'], 'cycle_checkpoint': True}
    model, data = shipped('refstar_gfpgan_512.yml', tmp_path, monkeypatch, **train)
    seen = {}
    matcher = model.net_g.refsel.matcher
    plain = matcher.refine.forward
    matcher.refine.forward = lambda *args: seen.setdefault('flow', plain(*args))
    model.net_g.ref_encoder.register_forward_hook(lambda m, inputs, out: seen.setdefault('features', out))
    steps(model, default_collate([data[i] for i in range(2)]))
    features = seen['features']
    assert next(iter(features.values() if isinstance(features, dict) else features)).dtype == torch.bfloat16
    assert seen['flow'].dtype == torch.float32
    assert all(math.isfinite(value) for value in model.get_current_log().values())


class OwnModel(SRModel):
    """A model that runs its losses through the step, as the models of this project do."""

    runs_training_step = True

    def optimize_parameters(self, current_iter: int) -> None:
        step = step_of(self)
        self.optimizer_g.zero_grad()
        with step.autocast():
            self.output = self.net_g(self.lq)
            loss = self.cri_pix(self.output, self.gt)
        step.backward(loss)
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict({'l_pix': loss})


def test_fp16_scales_the_loss_and_saves_the_scale(make: Any, tmp_path: Path) -> None:
    mixed, plain = make('OwnModel', amp='fp16'), make('OwnModel')
    set_scale(mixed, 128.0)
    before = weights(plain)
    steps(mixed, batch()), steps(plain, batch())
    assert mixed.output.dtype == torch.float16
    for key, value in weights(plain).items():
        moved, wanted = weights(mixed)[key] - before[key], value - before[key]
        assert (moved - wanted).norm() <= 0.02 * wanted.norm(), key
    mixed.save_training_state(0, 1)
    other = make('OwnModel', amp='fp16')
    other.resume_training(load_file(tmp_path / '1.state'))
    assert other.training_step.scaler.get_scale() == 128


def test_a_scale_that_is_too_high_is_lowered(make: Any) -> None:
    model = make('OwnModel', amp='fp16', nonfinite_limit=1)
    set_scale(model, 2.0**40)
    before = weights(model)['net_g.0.weight']
    steps(model, batch())
    assert step_of(model).log_skipped() is None
    assert torch.equal(weights(model)['net_g.0.weight'], before)
    assert model.training_step.scaler.get_scale() == 2.0**39


# --------------------------------------------------------------------- skipped steps
@pytest.mark.parametrize('optimizer', ['Adam', 'RMSprop'])
def test_a_step_that_is_not_finite_is_skipped_and_named(
    make: Any, optimizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = make(norm=True, optim_g={'type': optimizer, 'lr': 1e-3}, ema_decay=0.5)
    steps(model, batch())
    step_of(model).log_skipped()
    before, moments = weights(model), copy.deepcopy(model.optimizer_g.state_dict())
    steps(model, {key: value * math.nan for key, value in batch().items()})
    assert_close(
        {k: v for k, v in weights(model).items() if 'num_batches' not in k},
        {k: v for k, v in before.items() if 'num_batches' not in k},
        rtol=0,
        atol=0,
    )
    for key, value in moments['state'][0].items():
        assert torch.equal(model.optimizer_g.state_dict()['state'][0][key], value), key
    assert not caplog.text
    assert math.isnan(model.get_current_log()['l_pix'])
    assert step_of(model).log_skipped() is None
    assert '1 steps skipped since the last line: l_pix not finite' in caplog.text
    steps(model, batch())
    assert any((weights(model)[key] != before[key]).any() for key in before)


def test_too_many_skipped_steps_are_a_reason_to_stop(make: Any) -> None:
    model, broken = make(nonfinite_limit=3), {**batch(), 'gt': batch()['gt'] * math.inf}
    steps(model, batch(), broken, broken)
    assert step_of(model).log_skipped() is None
    steps(model, broken)
    assert step_of(model).log_skipped().startswith('the last 3 steps were skipped (train:nonfinite_limit is 3): l_pix')


# --------------------------------------------------------------------- the host does not wait
def test_the_host_waits_only_when_the_log_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masked = dict.fromkeys(f'{loss}_opt' for loss in ('selection', 'correspondence', 'cycle', 'person', 'identity'))
    for model, data in (
        shipped('refstar_gfpgan_512.yml', tmp_path, monkeypatch, grad_clip=1.0, amp='bf16', **masked),
        existing('RefGFPGANModel', tmp_path, monkeypatch),
    ):
        sample = default_collate([data[i] for i in range(2)])
        steps(model, sample)  # what is made once, is made
        with Waits() as mode:
            steps(model, sample)
            assert mode.count == 0, type(model).__name__
            model.get_current_log()
            assert mode.count > 0
        model.device = torch.device('meta')
        with Waits() as mode:
            type(model).feed_data(model, sample)
        assert mode.count == 0 and model.lq.device == model.gt.device == model.device, type(model).__name__


# --------------------------------------------------------------------- optimizers, EMA, layout, compilation
def test_optimizers_are_fused_unless_the_options_say_otherwise(make: Any) -> None:
    assert make(optim_g={'type': 'AdamW', 'lr': 1e-3}).optimizer_g.param_groups[0]['fused']
    other = make(optim_g={'type': 'AdamW', 'lr': 1e-3, 'foreach': True}).optimizer_g
    assert other.param_groups[0]['foreach'] and not other.param_groups[0]['fused']
    steps(make(optim_g={'type': 'NAdam', 'lr': 1e-3}), batch())


def test_a_resumed_optimizer_keeps_the_form_of_the_recipe(make: Any) -> None:
    old = make(optim_g={'type': 'Adam', 'lr': 1e-3, 'foreach': True})
    steps(old, batch())
    state = {'optimizers': [old.optimizer_g.state_dict()], 'schedulers': [old.schedulers[0].state_dict()]}
    state = copy.deepcopy(state)
    new = make(optim_g={'type': 'Adam', 'lr': 1e-3})
    new.net_g.load_state_dict(old.net_g.state_dict())
    new.resume_training(state)
    steps(old, batch()), steps(new, batch())
    assert new.optimizer_g.param_groups[0]['fused']
    assert_close(
        {k: v for k, v in weights(new).items() if 'ema' not in k},
        {k: v for k, v in weights(old).items() if 'ema' not in k},
    )


def test_ema_has_the_buffers_of_the_network(make: Any) -> None:
    model = make(norm=True)
    first = model.net_g_ema[0].weight.clone()
    steps(model, batch())
    torch.testing.assert_close(model.net_g_ema[0].weight, 0.9 * first + 0.1 * model.net_g[0].weight)
    assert torch.equal(model.net_g_ema[1].running_mean, model.net_g[1].running_mean)
    assert model.net_g[1].running_mean.any()


def test_channels_last_leaves_results_as_they_are(make: Any) -> None:
    model, plain = make('SRGANModel', channels_last=True), make('SRGANModel')
    for net in (model.net_g, model.net_d, model.net_g_ema):
        assert net[0].weight.is_contiguous(memory_format=torch.channels_last) and not net[0].weight.is_contiguous()
    for net, other in ((model.net_g, plain.net_g), (model.net_d, plain.net_d), (model.net_g_ema, plain.net_g_ema)):
        net.load_state_dict(other.state_dict())
    steps(model, batch()), steps(plain, batch())
    assert_close(weights(model), weights(plain), rtol=1e-5, atol=1e-6)
    with pytest.raises(RefStarError, match="train:channels_last: no network or module 'gg' is trained; nearest: g"):
        make(channels_last=['gg'])


def test_compiled_networks_keep_their_keys_and_their_results(make: Any) -> None:
    eager = {'backend': 'eager', 'fullgraph': True}
    compiled, plain = make('SRGANModel', compile=True, compile_kwargs=eager), make('SRGANModel')
    assert compiled.net_g._compiled_call_impl is not None and compiled.net_d._compiled_call_impl is not None
    steps(compiled, batch()), steps(plain, batch())
    assert_close(weights(compiled), weights(plain), rtol=0, atol=0)


def test_a_discriminator_with_r1_is_not_compiled(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(RefStarError, match=r'write compile: \[g\]'):
        existing('RefGFPGANModel', tmp_path, monkeypatch, compile=True, compile_kwargs={'backend': 'eager'})


def compiled(name: str) -> SimpleNamespace:
    """Returns a model whose network was prepared with this module compiled."""
    opt = {'train': {'compile': [name], 'compile_kwargs': {'backend': 'eager'}}}
    model = SimpleNamespace(net_g=networks.make('RRDBNet'), opt=opt, get_bare_model=lambda net: net)
    prepare_networks(model)
    return model


def test_modules_that_get_references_by_hooks_are_not_compiled() -> None:
    tap = next(iter(networks.make('RRDBNet').taps))
    for name in ('g.backbone', f'g.backbone.{tap}'):
        with pytest.raises(RefStarError, match=f'train:compile: {name} gets its references by hooks'):
            compiled(name)


@pytest.mark.parametrize('name', ['g.refsel', 'g.backbone.conv_last'])
def test_a_module_of_a_network_can_be_compiled(name: str) -> None:
    assert compiled(name).net_g.get_submodule(name.removeprefix('g.'))._compiled_call_impl is not None


def test_tf32_is_set(make: Any) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        make(tf32=True)
        assert torch.get_float32_matmul_precision() == 'high'
        make(tf32=False)
        assert torch.get_float32_matmul_precision() == 'highest' and not torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = True
