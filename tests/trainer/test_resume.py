"""A training that is killed, stopped, or out of disk or memory loses nothing."""

import os
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import kill_resume, runs
from torch.utils.data import DataLoader, Dataset

from refstar.trainer import resume, retention, run_guard
from refstar.trainer.option_check import check_options
from refstar.trainer.option_file import load_options
from refstar.trainer.seeding import Draw, SeededDataset
from refstar.utils.checkpoint import load_file
from refstar.utils.errors import RefStarError

NAME = 'sr_tiny'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with photos."""
    runs.write_images(tmp_path / 'datasets/gt', 6)
    runs.write_images(tmp_path / 'datasets/lq', 6)
    return tmp_path


def recipe(iterations: int, **logger: object) -> dict:
    opt = load_options(runs.FIXTURES / f'{NAME}.yml')
    opt['train'].update(total_iter=iterations, scheduler={'type': 'MultiStepLR', 'milestones': [5]})
    opt['logger'].update(logger)
    return opt


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --------------------------------------------------------------------- killed
@pytest.mark.slow
def test_killed_runs_end_with_the_same_weights(capsys: pytest.CaptureFixture) -> None:
    assert kill_resume.main(['--kills', '3', '--iterations', '8']) == 0, capsys.readouterr().out
    assert '3 of 3' in capsys.readouterr().out


class Chance(Dataset):
    """Samples that draw from every source of chance."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[int, float, float, torch.Tensor]:
        import random

        return index, random.random(), np.random.rand(), torch.rand(())


def test_samples_depend_on_their_place_alone() -> None:
    places = [Draw.at(index % 8, 7, 0, index) for index in range(16)]
    torch.manual_seed(0)
    wanted = torch.rand(2)
    torch.manual_seed(0)
    kinds = ({'batch_size': 4}, {'batch_size': 2, 'num_workers': 2, 'multiprocessing_context': 'fork'})
    first, second = (
        [torch.stack([torch.as_tensor(x, dtype=torch.float64).flatten() for x in batch], 1) for batch in loader]
        for loader in (
            DataLoader(SeededDataset(Chance()), sampler=places, generator=torch.Generator(), **kind) for kind in kinds
        )
    )
    assert torch.equal(torch.rand(2), wanted)  # the training's own chance was left alone
    first, second = torch.cat(first), torch.cat(second)
    assert torch.equal(first, second)
    assert len(first[:, 1:].unique()) == first[:, 1:].numel()  # the same photo is drawn anew in its second place


# --------------------------------------------------------------------- stopped
@pytest.mark.parametrize(('number', 'workers'), [(signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_a_signal_saves_and_says_how_to_resume(folder: Path, number: int, workers: int) -> None:
    opt = recipe(10**6, save_checkpoint_freq=10**6)
    opt['datasets']['train']['num_worker_per_gpu'], opt['val']['val_freq'] = workers, 10**6
    child = kill_resume.start(folder, opt)
    log, deadline = folder / 'log.txt', time.time() + 300
    while 'iter:       2' not in log.read_text() and time.time() < deadline:
        time.sleep(0.05)
    os.killpg(child, number)  # as Ctrl-C and Slurm do: loader processes too
    assert kill_resume.ended(child) == 128 + number
    lines = [line for line in log.read_text().splitlines() if line.startswith('Stopped by ')]
    assert len(lines) == 1 and lines[0].endswith('--auto_resume') and 'Traceback' not in log.read_text()
    states = folder / f'experiments/{NAME}/training_states'
    done = int(lines[0].split('iteration ')[1].split('.')[0])
    assert names(states) == {f'{done}.state'} and f'Iteration {done} is saved' in lines[0]

    opt['train']['total_iter'] = done + 2
    opt['logger']['save_checkpoint_freq'] = done + 2
    resumed = kill_resume.finish(folder, opt)
    shutil.move(folder / 'experiments', folder / 'resumed')
    whole = kill_resume.finish(folder, opt)
    assert kill_resume.differences(whole, folder / 'resumed' / resumed.name, done + 2) == []


# --------------------------------------------------------------------- out of disk, out of memory
def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_good(folder: Path) -> None:
    whole, opt = folder / 'whole', recipe(4)
    opt['val']['val_freq'] = 4
    shutil.move(kill_resume.finish(folder, opt), whole)
    opt['train']['total_iter'] = 2
    run = kill_resume.finish(folder, opt)
    opt['train']['total_iter'] = 4
    before = runs.files_under(run / 'models')

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # bytes per file; a checkpoint has more

    (folder / 'log.txt').unlink()
    assert kill_resume.ended(kill_resume.start(folder, opt, small_disk)) == 2
    log = (folder / 'log.txt').read_text()
    errors = [line for line in log.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and 'Traceback' not in log
    assert 'cannot write' in errors[0] and 'Is the disk full?' in errors[0] and 'Iteration 2 is saved' in errors[0]
    assert runs.files_under(run / 'models') == before

    assert kill_resume.differences(whole, kill_resume.finish(folder, opt), 4) == []


def test_too_little_memory_is_one_line() -> None:
    for error, text in (
        (torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB'), 'out of GPU memory'),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 'out of memory'),
        (MemoryError(), 'out of memory'),
    ):

        def train(root_path: str, error: Exception = error) -> None:
            raise error

        with pytest.raises(RefStarError, match=f'{text}.*batch_size_per_gpu'):
            run_guard.guarded(train)('.')
    with pytest.raises(RuntimeError, match='another'):
        run_guard.guarded(lambda root_path: (_ for _ in ()).throw(RuntimeError('another')))('.')
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# --------------------------------------------------------------------- what is kept
def test_the_last_and_the_best_checkpoints_are_kept(folder: Path) -> None:
    opt = recipe(8, save_checkpoint_freq=2, keep_last=2, keep_best='psnr')
    run = kill_resume.finish(folder, opt)
    assert names(run / 'training_states') == {'6.state', '8.state', 'best.state'}
    assert names(run / 'models') == {f'net_g_{label}.pth' for label in (6, 8, 'latest', 'best')}
    log = (folder / 'log.txt').read_text()
    found = [float(line.split('psnr: ')[1].split()[0]) for line in log.splitlines() if '# psnr: ' in line]
    kept = [float(line.split('far, ')[1].split(':')[0]) for line in log.splitlines() if 'Best psnr so far' in line]
    assert kept[-1] == max(found) and kept == sorted(kept)

    best = {'metric': 'psnr', 'value': 99.0, 'iter': 7}  # of a validation that the killed run's state does not know
    torch.save(best, run / 'training_states/best.state')
    before = (run / 'models/net_g_best.pth').read_bytes()
    (run / 'training_states/8.state').unlink()
    kill_resume.finish(folder, opt)
    assert (run / 'models/net_g_best.pth').read_bytes() == before


def test_old_checkpoints_go_after_the_new_one_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for iteration in (2, 4, 6, 8):
        for name in (f'{iteration}.state', f'net_g_{iteration}.pth', f'net_d_{iteration}.pth'):
            (tmp_path / name).touch()
    (tmp_path / 'net_g_best.pth').touch()
    opt = {'path': dict.fromkeys(('models', 'training_states'), str(tmp_path)), 'logger': {'keep_last': 2}}
    gone = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, 'unlink', lambda path: (gone.append(path.name), unlink(path)))
    retention.prune(opt, 6)  # 8 is of an earlier run, which went further
    assert gone[0] == '2.state' and set(gone[1:]) == {'net_g_2.pth', 'net_d_2.pth'}
    (tmp_path / '4.state').unlink()  # killed while deleting
    retention.prune(opt, 8)
    kinds = ('{}.state', 'net_g_{}.pth', 'net_d_{}.pth')
    assert names(tmp_path) == {'net_g_best.pth', *(kind.format(i) for i in (6, 8) for kind in kinds)}


def test_random_states_are_those_of_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        states.append(resume.random_states())
    monkeypatch.setattr(resume, 'get_dist_info', lambda: (1, 2))
    resume.restore_random_states({'random_states': states})
    found = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(found, torch.rand(3))


def test_wrong_values_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for block, key, value, message in (
        ('train', 'amp', 'bf61', 'train:amp: expected bf16 or fp16'),
        ('train', 'accumulate', 0, 'train:accumulate: expected a whole number'),
        ('logger', 'keep_last', '2', 'logger:keep_last: expected a whole number'),
        ('logger', 'keep_best', 'psrn', "'psrn' is not in val:metrics; nearest: psnr"),
        ('logger', 'keep_lst', 2, 'nearest: keep_last'),
        ('train', 'acumulate', 2, 'nearest: accumulate'),
    ):
        opt = recipe(2)
        opt[block][key] = value
        with pytest.raises(RefStarError, match=message):
            check_options(opt, is_train=True)


def test_state_of_another_recipe_is_named(folder: Path) -> None:
    run = kill_resume.finish(folder, recipe(2))
    state = load_file(run / 'training_states/2.state')
    assert state['manual_seed'] == 1 and len(state['random_states']) == 1
    torch.save({**state, 'optimizers': state['optimizers'] * 2}, run / 'training_states/2.state')
    assert kill_resume.ended(kill_resume.start(folder, recipe(4))) == 2
    assert 'has 2 optimizers, this recipe has 1' in (folder / 'log.txt').read_text()
