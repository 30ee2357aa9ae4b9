"""The methods of BasicSR's BaseModel that are replaced."""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from torch import nn
from torch.utils.data import DataLoader

from refstar.utils.checkpoint import load_file, save_atomically, state_dict_of
from refstar.utils.errors import RefStarError


def model(tmp_path=None, **opt) -> BaseModel:
    opt = {'num_gpu': 0, 'is_train': True, 'dist': False, 'rank': 0, 'manual_seed': 0, 'path': {}, **opt}
    opt |= {'train': {}, 'logger': {}}
    if tmp_path is not None:
        opt['path'] = {'models': str(tmp_path), 'training_states': str(tmp_path)}
    return BaseModel(opt)


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


@pytest.mark.parametrize(
    ('content', 'key', 'hint'),
    [
        (lambda state: state, '~', r'has no .params., it is a bare state dict; set path:param_key_g: ~'),
        (lambda state: {'state_dict': state}, 'state_dict', 'under state_dict; set path:param_key_g: state_dict'),
        (lambda state: {'g_ema': state, 'iter': 1}, 'g_ema', 'under g_ema; set path:param_key_g: g_ema'),
    ],
)
def test_weights_under_another_key_load_as_the_error_says(tmp_path, content: Any, key: str, hint: str) -> None:
    net, file = nn.Linear(2, 3), str(tmp_path / 'a.pth')
    torch.save(content(nn.Linear(2, 3).state_dict()), file)
    base = model()
    base.opt['path'] = {'pretrain_network_g': file}
    with pytest.raises(RefStarError, match=hint):
        base.load_network(net, file)
    base.opt['path']['param_key_g'] = None if key == '~' else key
    for asked in (base.opt['path']['param_key_g'], 'params_ema'):  # of net_g, and of its EMA
        base.load_network(net, file, True, asked)


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


def test_validation_leaves_the_random_states_of_training_alone() -> None:
    base = model()
    base.nondist_validation = lambda *args: (torch.rand(3), np.random.rand(3))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    base.validation(None, 1, None)
    assert torch.equal(torch.rand(1), expected)


def test_ddp_wrap_needs_no_cuda(tmp_path) -> None:
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/init', rank=0, world_size=1)
    try:
        net = model(dist=True).model_to_device(nn.Linear(2, 2))
        net(torch.ones(1, 2)).sum().backward()
        assert isinstance(net, nn.parallel.DistributedDataParallel) and net.module.weight.grad is not None
    finally:
        torch.distributed.destroy_process_group()


def test_a_stock_model_without_a_rank_trains_validates_and_saves(tmp_path) -> None:
    """As BasicSR's own tests build it: by its class, without what the option parser adds."""
    photos = [{'lq': torch.rand(3, 8, 8), 'gt': torch.rand(3, 8, 8), 'lq_path': 'a.png'}]
    opt = {
        'num_gpu': 0,
        'is_train': True,
        'dist': False,
        'path': {'models': str(tmp_path), 'training_states': str(tmp_path), 'visualization': str(tmp_path)},
        'network_g': {'type': 'RRDBNet', 'scale': 1, 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1},
        'train': {'pixel_opt': {'type': 'L1Loss'}, 'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'ema_decay': 0.9}
        | {'scheduler': {'type': 'MultiStepLR', 'milestones': [9]}},
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
    }
    stock, loader = SRModel(opt), DataLoader(Photos(photos))
    stock.feed_data(next(iter(loader)))
    stock.optimize_parameters(1)
    stock.save(0, 1)
    stock.validation(loader, 1, None, False)
    assert stock.metric_results['psnr'] > 0 and load_file(tmp_path / '1.state')['iter'] == 1
    assert set(load_file(tmp_path / 'net_g_1.pth')) == {'params', 'params_ema'}


class Photos(list):
    """A data set as BasicSR's validations want it."""

    opt: ClassVar = {'name': 'photos'}
