"""The training loop: what a run writes, how it ends when stopped or when the disk is full."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import pytest
from helpers import kill_resume, runs
from helpers.recipes import OPTIONS, put
from helpers.shrink import SAMPLES, SIZE, replace_files, shrink

from refstar.trainer.option_file import load_options
from refstar.utils.training_log import parse_line

NAME = 'sr_tiny'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with photos."""
    for part in ('gt', 'lq'):
        runs.write_images(tmp_path / 'datasets' / part, 6)
    return tmp_path


def recipe(iterations: int, **logger: object) -> dict:
    opt = load_options(runs.FIXTURES / f'{NAME}.yml')
    opt['train'].update(total_iter=iterations, scheduler={'type': 'MultiStepLR', 'milestones': [5]})
    opt['logger'].update(logger)
    return opt


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def events(folder: Path) -> Any:
    """Returns what is in the TensorBoard files of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), {'images': 0, 'scalars': 0})
    found.Reload()
    return found


def the_error_in(log: str) -> str:
    """Returns the one line with which a run ended."""
    errors = [line for line in log.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and 'Traceback' not in log, log[-3000:]
    return errors[0]


def test_a_run_logs_its_losses_and_keeps_its_last_states(folder: Path) -> None:
    opt = recipe(8, save_checkpoint_freq=2, keep_last=2, use_tb_logger=True)
    run = kill_resume.finish(folder, opt)
    log = (folder / 'log.txt').read_text()
    entries = [parse_line(line) for line in log.splitlines() if ', lr:(' in line]
    assert [entry.iteration for entry in entries] == list(range(1, 9))
    for entry in entries:
        assert list(entry.terms) == ['l_pix']
    assert 'losses/l_pix' in events(folder / 'tb_logger' / NAME).Tags()['scalars']

    assert names(run / 'training_states') == {'6.state', '8.state'}
    assert names(run / 'models') == {f'net_g_{label}.pth' for label in (6, 8, 'latest')}


def test_a_recipe_that_enlarges_trains_validates_and_resumes(folder: Path) -> None:
    opt = shrink(replace_files(load_options(OPTIONS / 'train/refstar_realesrgan_x4.yml'), folder / 'files'))
    opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [5]}
    opt['val'].update(val_freq=4, pbar=False)
    whole = kill_resume.finish(folder / 'whole', put(opt, 'train:total_iter', 4))
    kill_resume.finish(folder / 'parts', opt)
    parts = kill_resume.finish(folder / 'parts', put(opt, 'train:total_iter', 4))
    assert kill_resume.differences(whole, parts, 4) == []
    pictures = list(parts.glob('visualization*/*/*_4.png'))
    assert len(pictures) == 3 * SAMPLES and cv2.imread(str(pictures[0])).shape == (SIZE, SIZE, 3)


def test_too_many_skipped_steps_stop_a_run_with_a_checkpoint(folder: Path) -> None:
    opt = recipe(8)
    opt['train'].update(nonfinite_limit=2, optim_g={'type': 'SGD', 'lr': 1e30})
    opt['val'] = None
    assert kill_resume.ended(kill_resume.start(folder, opt)) == 2
    error = the_error_in((folder / 'log.txt').read_text())
    assert 'l_pix not finite. The weights from before are saved.' in error and '--auto_resume' in error


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
    done = int(lines[0].split('iteration ')[1].split('.')[0])
    assert names(folder / f'experiments/{NAME}/training_states') == {f'{done}.state'}

    opt['train']['total_iter'] = opt['logger']['save_checkpoint_freq'] = done + 2
    resumed = kill_resume.finish(folder, opt)
    shutil.move(folder / 'experiments', folder / 'resumed')
    whole = kill_resume.finish(folder, opt)
    assert kill_resume.differences(whole, folder / 'resumed' / resumed.name, done + 2) == []


def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_good(folder: Path) -> None:
    limits = pytest.importorskip('resource')
    opt = recipe(2)
    opt['val']['val_freq'] = 4
    run = kill_resume.finish(folder, opt)
    opt['train']['total_iter'] = 4
    before = runs.files_under(run / 'models')
    (folder / 'log.txt').unlink()

    def small_disk() -> None:
        limits.setrlimit(limits.RLIMIT_FSIZE, (20_000, 20_000))  # bytes per file; a checkpoint has more

    assert kill_resume.ended(kill_resume.start(folder, opt, small_disk)) == 2
    error = the_error_in((folder / 'log.txt').read_text())
    assert 'cannot write' in error and 'Is the disk full?' in error and 'Iteration 2 is saved' in error
    assert runs.files_under(run / 'models') == before
