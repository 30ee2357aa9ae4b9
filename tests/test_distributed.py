"""Two processes under torchrun, on gloo without a GPU: train, one common set of weights, resume."""

import shutil
from pathlib import Path

import runs
import torch


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
