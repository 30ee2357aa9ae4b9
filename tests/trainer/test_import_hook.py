"""What breaks in BasicSR, GFPGAN and facexlib on current libraries, and is mended at import; one test per fix."""

import random

import basicsr  # noqa: F401
import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import degradations
from basicsr.losses.gan_loss import r1_penalty
from basicsr.models.base_model import BaseModel
from torch import nn

from refstar.trainer import native_ops, resume
from refstar.trainer.resume import ResumableSampler, random_states, set_random_states
from refstar.utils.checkpoint import load_file, save_atomically, state_dict_of
from refstar.utils.errors import RefStarError


def model(tmp_path=None, **opt) -> BaseModel:
    opt = {'num_gpu': 0, 'is_train': True, 'dist': False, 'rank': 0, 'manual_seed': 0, 'path': {}, **opt}
    opt |= {'train': {}, 'logger': {}}
    if tmp_path is not None:
        opt['path'] = {'models': str(tmp_path), 'training_states': str(tmp_path)}
    return BaseModel(opt)


def test_functional_tensor_is_the_function_of_torchvision() -> None:
    from torchvision.transforms import functional
    from torchvision.transforms.functional_tensor import rgb_to_grayscale

    assert rgb_to_grayscale is functional.rgb_to_grayscale


def test_facexlib_landmarks_find_the_peak_of_a_heatmap() -> None:
    from facexlib.alignment.awing_arch import calculate_points

    heatmap = np.zeros((1, 1, 64, 64), np.float32)
    heatmap[0, 0, 20, 30] = 1
    np.testing.assert_allclose(calculate_points(heatmap)[0, 0], (30.5, 20.5))


@pytest.mark.parametrize('quality', [30, 60.7])
def test_jpeg_degradation_is_that_of_opencv(quality: float) -> None:
    image = np.random.default_rng(0).random((16, 16, 3), np.float32)
    image = cv2.resize(image, (32, 32))
    out = degradations.random_add_jpg_compression(image, (quality, quality))
    encoded = cv2.imencode('.jpg', np.uint8(np.round(image * 255)), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    np.testing.assert_allclose(out, cv2.imdecode(encoded, 1) / 255, atol=1e-6)
    assert out.dtype == np.float32 and 0.005 < np.abs(out - image).mean() < 0.2


def test_fused_leaky_relu_has_right_gradients_of_both_orders() -> None:
    from basicsr.ops.fused_act import fused_leaky_relu

    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fused_leaky_relu, (x, bias))
    assert torch.autograd.gradgradcheck(fused_leaky_relu, (x, bias))
    expected = torch.nn.functional.leaky_relu(x + bias[:, None], 0.2) * 2**0.5
    torch.testing.assert_close(fused_leaky_relu(x, bias), expected)


def test_upfirdn2d_without_extension_is_the_native_one() -> None:
    upfirdn2d = native_ops.upfirdn2d_module
    x, kernel = torch.randn(1, 2, 6, 6), torch.rand(4, 4)
    out = upfirdn2d.UpFirDn2d.apply(x, kernel, (2, 2), (1, 1), (2, 1, 2, 1))
    torch.testing.assert_close(out, upfirdn2d.upfirdn2d(x, kernel, up=2, pad=(2, 1)))


def test_stylegan2_discriminator_trains_with_r1_on_the_cpu() -> None:
    net = build_network({'type': 'StyleGAN2Discriminator', 'out_size': 16, 'narrow': 0.0625})
    image = torch.randn(2, 3, 16, 16, requires_grad=True)
    r1_penalty(net(image), image).backward()
    gradients = [p.grad for name, p in net.named_parameters() if name.endswith('weight')]
    assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in gradients if g is not None)
    assert sum(g is not None for g in gradients) > 5


@pytest.mark.parametrize('kind', ['Adam', 'AdamW', 'SGD', 'RMSprop'])
def test_any_torch_optimizer_by_name(kind: str) -> None:
    parameter = nn.Parameter(torch.ones(2))
    arguments = {'betas': (0, 0.99)} if 'Adam' in kind else {}
    optimizer = model().get_optimizer(kind, [parameter], 0.1, **arguments)
    assert type(optimizer) is getattr(torch.optim, kind) and optimizer.param_groups[0]['lr'] == 0.1
    parameter.sum().backward()
    optimizer.step()
    assert (parameter < 1).all()


def test_unknown_optimizer_is_named_with_the_nearest() -> None:
    with pytest.raises(RefStarError, match="'AdmW'; nearest: AdamW"):
        model().get_optimizer('AdmW', [nn.Parameter(torch.ones(1))], 0.1)


def test_save_is_atomic_and_a_failed_write_is_an_error(tmp_path, monkeypatch) -> None:
    path = tmp_path / 'x.pth'
    save_atomically({'params': torch.zeros(2)}, path)
    before = path.read_bytes()

    def broken_save(data, file) -> None:
        file.write(b'half')
        raise OSError('No space left on device')

    monkeypatch.setattr(torch, 'save', broken_save)
    with pytest.raises(RefStarError, match=r'cannot write .*x_1\.pth: No space left'):
        model(tmp_path).save_network(nn.Linear(1, 1), 'x', 1)
    with pytest.raises(RefStarError, match='No space left'):
        save_atomically({}, path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ['x.pth']


def test_saved_network_loads_back(tmp_path) -> None:
    net, ema, other = nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(2, 3)
    model(tmp_path).save_network([net, ema], 'net_g', -1, ['params', 'params_ema'])
    model().load_network(other, str(tmp_path / 'net_g_latest.pth'), None, 'params_ema')
    torch.testing.assert_close(other.weight, ema.weight)


def test_checkpoint_of_another_network_is_named(tmp_path) -> None:
    save_atomically({'params': {**nn.Linear(2, 3).state_dict(), 'head': torch.zeros(1)}}, tmp_path / 'a.pth')
    with pytest.raises(RefStarError) as error:
        model().load_network(nn.Sequential(nn.Linear(2, 3)), str(tmp_path / 'a.pth'))
    for part in ('a.pth', 'another network than Sequential', '2 missing: 0.weight, 0.bias', '3 unexpected: weight'):
        assert part in str(error.value)
    with pytest.raises(RefStarError, match=r'1 other shape: weight \(3, 2\) instead of \(3, 4\)'):
        save_atomically({'params': nn.Linear(2, 3).state_dict()}, tmp_path / 'a.pth')
        model().load_network(nn.Linear(4, 3), str(tmp_path / 'a.pth'))
    with pytest.raises(RefStarError, match="has no 'params'"):
        save_atomically({'weights': 1}, tmp_path / 'b.pth')
        state_dict_of(tmp_path / 'b.pth')


def test_checkpoint_with_code_or_broken_is_refused(tmp_path) -> None:
    class Anything:
        pass

    globals()['Anything'] = Anything
    Anything.__qualname__ = 'Anything'
    torch.save({'params': Anything()}, tmp_path / 'code.pth')
    with pytest.raises(RefStarError, match=r'code\.pth: holds Python objects'):
        load_file(tmp_path / 'code.pth')
    whole = tmp_path / 'whole.pth'
    torch.save({'params': torch.zeros(1000)}, whole)
    (tmp_path / 'half.pth').write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(RefStarError, match=r'half\.pth: .*broken'):
        load_file(tmp_path / 'half.pth')
    with pytest.raises(RefStarError, match=r'none\.pth: no such file'):
        load_file(tmp_path / 'none.pth')


def test_landmark_file_with_numpy_values_loads(tmp_path) -> None:
    content = {'00000000': {'left_eye': [np.float64(1.5), np.float32(2), np.int64(3)], 'mouth': np.arange(3.0)}}
    torch.save(content, tmp_path / 'new.pth')
    loaded = torch.load(tmp_path / 'new.pth')
    assert loaded['00000000']['left_eye'] == [1.5, 2, 3]
    np.testing.assert_array_equal(loaded['00000000']['mouth'], np.arange(3.0))


def test_random_states_round_trip(tmp_path) -> None:
    save_atomically(random_states(), tmp_path / 'states')
    first = random.random(), np.random.rand(), torch.rand(2)
    set_random_states(load_file(tmp_path / 'states'))
    again = random.random(), np.random.rand(), torch.rand(2)
    assert first[:2] == again[:2] and torch.equal(first[2], again[2])


def test_validation_leaves_the_random_states_of_training_alone() -> None:
    base = model()
    base.nondist_validation = lambda *args: (torch.rand(3), np.random.rand(3))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    base.validation(None, 1, None)
    assert torch.equal(torch.rand(1), expected)


def test_planned_sampler_splits_epochs_and_stops_at_the_last_iteration(monkeypatch) -> None:
    from refstar.trainer import resume

    def iterations(start: int) -> list[int]:
        monkeypatch.setattr(resume, '_resumed', {'iter': start} if start else {})
        sampler = ResumableSampler(range(7), 1, 0)
        sampler.plan(batch_size=2, batches=3, total_iters=8)
        seen = []
        for epoch in range(sampler.resumed_epoch, 3):
            sampler.set_epoch(epoch)
            seen += list(sampler)
        return seen

    whole = iterations(0)
    assert len(whole) == 16
    for start in range(1, 9):
        assert iterations(start) == whole[2 * start :], start


def test_a_dataset_smaller_than_a_batch_is_an_error() -> None:
    from refstar.trainer.resume import plan_epochs

    sampler = ResumableSampler(range(3), 1, 0)
    loader = torch.utils.data.DataLoader(range(3), batch_size=4, sampler=sampler, drop_last=True)
    with pytest.raises(RefStarError, match='3 samples per process are less than a batch of 4'):
        plan_epochs((loader, sampler, [], 1, 10), seed=0)


def test_ddp_wrap_needs_no_cuda(tmp_path) -> None:
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/init', rank=0, world_size=1)
    try:
        net = model(dist=True).model_to_device(nn.Linear(2, 2))
        net(torch.ones(1, 2)).sum().backward()
        assert isinstance(net, nn.parallel.DistributedDataParallel) and net.module.weight.grad is not None
    finally:
        torch.distributed.destroy_process_group()


def test_launcher_without_torchrun_says_so(monkeypatch) -> None:
    from basicsr.utils.dist_util import init_dist

    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(RefStarError, match='torchrun'):
        init_dist('pytorch')


def test_resume_state_is_found_under_the_root_path_and_read_without_cuda(tmp_path, monkeypatch) -> None:
    from basicsr.train import load_resume_state

    monkeypatch.setattr(resume, '_resumed', {})  # put back afterwards
    experiment = model(tmp_path)
    experiment.optimizers = [torch.optim.Adam([nn.Parameter(torch.ones(1))])]
    for label in (8, 16):
        experiment.save_training_state(0, label)
    monkeypatch.chdir('/')
    opt = {'auto_resume': True, 'path': dict(experiment.opt['path']), 'rank': 0}
    assert load_resume_state(opt)['iter'] == 16 and opt['path']['resume_state'] == str(tmp_path / '16.state')
    (tmp_path / '16.state').write_bytes(b'broken')
    with pytest.raises(RefStarError, match=r'16\.state'):
        load_resume_state(opt)
    save_atomically({'params': 1}, tmp_path / '16.state')
    with pytest.raises(RefStarError, match=r'16\.state is no training state'):
        load_resume_state(opt)


def test_hook_is_installed_once() -> None:
    import sys

    from refstar.trainer import import_hook

    import_hook.install()
    assert sum(type(finder).__name__ == '_Hook' for finder in sys.meta_path) == 1
