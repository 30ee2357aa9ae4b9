"""Two processes under torchrun, on one node and on two; on gloo, without a GPU."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from basicsr.models.base_model import BaseModel
from helpers import forked, kill_resume, runs
from helpers.recipes import plain
from torch import distributed, nn

from refstar.models.replica_gradients import average_gradients, share_weights
from refstar.tools.train import main as train
from refstar.trainer.option_file import load_options


def die_together(iteration: int) -> None:
    """Lets this process and the other one be killed once both have come to this iteration."""
    plain = BaseModel.update_learning_rate

    def update_learning_rate(model: BaseModel, current_iter: int, warmup_iter: int = -1) -> None:
        if current_iter == iteration:
            Path(f'here{model.opt["rank"]}').touch()
            while not (Path('here0').exists() and Path('here1').exists()):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        plain(model, current_iter, warmup_iter)

    BaseModel.update_learning_rate = update_learning_rate


@pytest.mark.parametrize('model', ['SRModel', 'RefSTARModel'])
def test_two_killed_processes_end_with_the_weights_of_undisturbed_ones(model: str, tmp_path: Path) -> None:
    """Weights, EMA, optimizers and the random states of both, bit by bit; DDP, and gradients averaged by ourselves."""
    if model == 'SRModel':
        opt = load_options(runs.FIXTURES / 'sr_tiny.yml')
        for kind in ('gt', 'lq'):
            runs.write_images(tmp_path / kind, 8)
            opt['datasets']['train'][f'dataroot_{kind}'] = str(tmp_path / kind)
        opt['val'], opt['datasets'] = None, {'train': opt['datasets']['train']}
        opt.update(name='run'), opt['train'].update(total_iter=4)
    else:
        opt = kill_resume.recipe(tmp_path / 'files', 4)
    whole, killed = (tmp_path / name for name in ('whole', 'killed'))
    for folder in (whole, killed):
        folder.mkdir()
        runs.write_options(folder / 'x.yml', plain(opt))
    arguments = ['-opt', 'x.yml', '--auto_resume', '--launcher', 'pytorch']
    forked.ranks(2, whole, lambda: train(arguments))
    forked.ranks(2, killed, lambda: die_together(4) or train(arguments), code=-signal.SIGKILL)
    runs_of = [folder / 'experiments/run' for folder in (whole, killed)]
    assert [path.name for path in (runs_of[1] / 'training_states').iterdir()] == ['2.state']
    log = forked.ranks(2, killed, lambda: train(arguments))[0]
    assert 'Resuming training from' in log and 'iter: 2.' in log
    assert kill_resume.differences(*runs_of, 4) == []
    saved = torch.load(runs_of[1] / 'models/net_g_4.pth', weights_only=True)
    assert any((saved['params'][key] != value).any() for key, value in saved['params_ema'].items())
    states = torch.load(runs_of[1] / 'training_states/4.state', weights_only=True)['random_states']
    assert len(states) == 2 and not kill_resume.same(*states)


def average_over_two_passes() -> None:
    """Averages gradients of a network that two passes use, of which one process uses a part alone."""
    distributed.init_process_group('gloo')
    rank = distributed.get_rank()
    torch.manual_seed(rank)
    net = nn.ModuleDict({'used': nn.Linear(3, 2), 'by_one': nn.Linear(2, 2), 'unused': nn.Linear(2, 2)})
    net['frozen'] = nn.Linear(2, 2).requires_grad_(False)
    share_weights(net)
    x = torch.full((4, 3), float(rank + 1))
    loss = net['used'](x).sum() + net['used'](2 * x).sum()
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
    distributed.destroy_process_group()


def test_gradients_are_averaged_over_several_passes(tmp_path: Path) -> None:
    forked.ranks(2, tmp_path, average_over_two_passes)


# --------------------------------------------------------------------- two nodes
SHORT = ['-opt', 'x.yml', '--force_yml', 'train:total_iter=2', '--launcher', 'pytorch']


def user_folder(path: Path, **dist_params: object) -> Path:
    """A folder with photos and the smallest recipe."""
    runs.write_images(path / 'datasets/gt', 8)
    runs.write_images(path / 'datasets/lq', 8)
    options = load_options(runs.FIXTURES / 'sr_tiny.yml')
    runs.write_options(path / 'x.yml', plain({**options, 'dist_params': dist_params}))
    return path


@pytest.fixture(scope='module')
def on_one_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two processes on one node."""
    folder = user_folder(tmp_path_factory.mktemp('node'), backend='nccl', port=29500)  # as BasicSR's files have it
    forked.ranks(2, folder, lambda: train(SHORT))
    return folder / 'experiments/sr_tiny'


def test_two_nodes_train_as_one(on_one_node: Path, tmp_path: Path) -> None:
    """torchrun started once on each of two nodes that share their files; here both are this machine."""
    folder = user_folder(tmp_path)
    meet = ['--rdzv_backend', 'c10d', '--rdzv_endpoint', f'127.0.0.1:{forked.free_port()}', '--rdzv_id', 'x']
    nodes = ['--nnodes', '2', '--nproc_per_node', '1', *meet, '--local_addr', '127.0.0.1']
    command = [sys.executable, '-m', 'torch.distributed.run', *nodes, '-m', 'refstar.tools.train', *SHORT]
    streams = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}
    started = [subprocess.Popen(command, cwd=folder, env=runs.ENVIRONMENT, **streams) for _ in range(2)]
    try:
        logs = [node.communicate(timeout=500)[0] for node in started]
    finally:
        for node in started:
            node.kill()
    assert [node.returncode for node in started] == [0, 0], '\n'.join(log[-3000:] for log in logs)
    assert sum('World size (gpu number): 2' in log for log in logs) == 1  # the first process alone writes
    assert kill_resume.differences(on_one_node, folder / 'experiments/sr_tiny', 2) == []
