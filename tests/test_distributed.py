"""Two processes under torchrun, on gloo without a GPU: train, one common set of weights, resume."""

import shutil
from pathlib import Path

import runs
import torch
import yaml
from shrink import replace_files, shrink
from test_shipped_options import OPTIONS, plain

from refstar.trainer.option_file import load_options

GRADIENTS = """
import torch
from torch import distributed, nn
import refstar
from refstar.models.parallel import average_gradients, share_weights

distributed.init_process_group('gloo')
rank = distributed.get_rank()
torch.manual_seed(rank)
net = nn.ModuleDict({'used': nn.Linear(3, 2), 'by_one': nn.Linear(2, 2), 'unused': nn.Linear(2, 2)})
net['frozen'] = nn.Linear(2, 2).requires_grad_(False)
share_weights(net)
x = torch.full((4, 3), float(rank + 1))
loss = net['used'](x).sum() + net['used'](2 * x).sum()  # two passes, one backward
if rank:
    loss = loss + net['by_one'](torch.ones(1, 2)).sum()
loss.backward()
average_gradients(net.parameters())
torch.testing.assert_close(net['used'].weight.grad, torch.full((2, 3), 4 * 3 * 1.5))
torch.testing.assert_close(net['by_one'].bias.grad, torch.full((2,), 0.5))
assert not net['unused'].weight.grad.any() and net['frozen'].weight.grad is None
both = [torch.empty(2, 3) for _ in range(2)]
distributed.all_gather(both, net['used'].weight.data)
assert torch.equal(*both)
distributed.barrier()
distributed.destroy_process_group()
print(f'rank {rank} is right')
"""


def _torchrun(*args: object, cwd: Path) -> str:
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', 2, '-m', 'refstar.tools.train']
    return runs.succeeded(runs.python(*launch, '-opt', 'x.yml', '--launcher', 'pytorch', *args, cwd=cwd))


def test_two_processes_train_and_resume(tmp_path: Path) -> None:
    runs.write_images(tmp_path / 'datasets/gt', 8)
    runs.write_images(tmp_path / 'datasets/lq', 8)
    shutil.copy(runs.FIXTURES / 'sr_tiny.yml', tmp_path / 'x.yml')
    log = _torchrun('--force_yml', 'train:total_iter=3', cwd=tmp_path)
    assert 'World size (gpu number): 2' in log and 'DistributedDataParallel' in log and '@ 3 iter' in log
    models = tmp_path / 'experiments/sr_tiny/models'
    first = torch.load(models / 'net_g_latest.pth', weights_only=True)['params']
    assert not any(key.startswith('module.') for key in first)
    log = _torchrun('--auto_resume', '--force_yml', 'train:total_iter=4', cwd=tmp_path)
    assert 'Resuming training from' in log and 'iter: 2.' in log and (models / 'net_g_4.pth').is_file()
    assert not list(tmp_path.glob('experiments/*_archived_*'))
    second = torch.load(models / 'net_g_latest.pth', weights_only=True)['params']
    assert any((first[key] != second[key]).any() for key in first)


def test_gradients_are_averaged_over_several_passes(tmp_path: Path) -> None:
    (tmp_path / 'x.py').write_text(GRADIENTS)
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', 2, 'x.py']
    log = runs.succeeded(runs.python(*launch, cwd=tmp_path))
    assert 'rank 0 is right' in log and 'rank 1 is right' in log


def test_two_processes_train_refstar_with_every_loss(tmp_path: Path) -> None:
    options = shrink(replace_files(load_options(OPTIONS / 'train/refstar_gfpgan_512.yml'), tmp_path / 'files'))
    options['train'].update(cycle_checkpoint=True, freeze=['refsel.lq_encoder'])
    (tmp_path / 'x.yml').write_text(yaml.safe_dump(plain(options), sort_keys=False))
    log = _torchrun(cwd=tmp_path)
    assert 'World size (gpu number): 2' in log
    for term in ('l_pixel', 'l_pyramid', 'l_cycle', 'l_g_gan', 'l_d_r1', 'l_identity_gt', 'l_sel_bce'):
        assert f' {term}' in log, term
    assert ': nan' not in log
    assert (tmp_path / f'experiments/{options["name"]}/models/net_g_latest.pth').is_file()
