"""The training loop: what a run writes, how it ends when stopped or when the disk is full, the dry run."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from basicsr.utils import logger
from basicsr.utils.registry import MODEL_REGISTRY
from helpers import kill_resume, runs
from helpers.recipes import OPTIONS, plain
from helpers.shrink import replace_files, shrink

from refstar.tools import test, train
from refstar.trainer.dry_run import costly_iteration
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


def test_a_run_logs_its_speed_and_keeps_the_last_and_best(folder: Path) -> None:
    opt = recipe(8, save_checkpoint_freq=2, keep_last=2, keep_best='psnr', use_tb_logger=True)
    run = kill_resume.finish(folder, opt)
    log = (folder / 'log.txt').read_text()
    entries = [parse_line(line) for line in log.splitlines() if ', lr:(' in line]
    assert [entry.iteration for entry in entries] == list(range(1, 9))
    for entry in entries:
        assert list(entry.terms) == ['l_pix', 'images_per_s', 'data_wait']
        assert entry.terms['images_per_s'] > 0 and 0 < entry.terms['data_wait'] < 1
    assert set(events(folder / 'tb_logger' / NAME).Tags()['scalars']) >= {'losses/l_pix', 'images_per_s', 'data_wait'}

    assert names(run / 'training_states') == {'6.state', '8.state', 'best.state'}
    assert names(run / 'models') == {f'net_g_{label}.pth' for label in (6, 8, 'latest', 'best')}
    figures = [float(line.split('psnr: ')[1].split()[0]) for line in log.splitlines() if '# psnr: ' in line]
    kept = [float(line.split('far, ')[1].split(':')[0]) for line in log.splitlines() if 'Best psnr so far' in line]
    assert kept[-1] == max(figures) and kept == sorted(kept)


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


@pytest.mark.parametrize('name', ['refstar.yml', 'refsel.yml'])
def test_batches_and_validations_are_drawn_for_tensorboard(name: str, tmp_path: Path) -> None:
    opt = shrink(replace_files(load_options(OPTIONS / 'demo' / name), tmp_path / 'files'))
    opt['logger'].update(use_tb_logger=True, save_checkpoint_freq=2)
    plain_run = kill_resume.finish(tmp_path / 'plain', opt)
    opt['logger']['image_freq'] = 1
    if opt.get('val'):
        opt['val'].update(val_freq=2, tb_images=1)
    drawn = kill_resume.finish(tmp_path / 'drawn', opt)
    assert kill_resume.differences(plain_run, drawn, 2) == []  # drawing has no part in the training

    found = events(tmp_path / 'drawn/tb_logger' / opt['name'])
    tags = found.Tags()['images']
    assert [image.step for image in found.Images('training')] == [1, 2]
    assert len(tags) == (2 if opt.get('val') else 1)
    for tag in tags:
        image = found.Images(tag)[-1]
        picture = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        columns = np.split(picture[18:], picture.shape[1] // (picture.shape[0] - 18), 1)
        assert len(columns) >= 3 and all(column.std() > 1 for column in columns)


# --------------------------------------------------------------------- dry run
def test_a_dry_run_prints_parts_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    opt = shrink(replace_files(load_options(OPTIONS / 'train/refstar_gfpgan_512.yml'), tmp_path / 'files'))
    opt['train'].update(net_d_reg_every=4, cycle_every=3, net_d_start=10, amp='bf16')
    (tmp_path / 'x.yml').write_text(yaml.safe_dump(plain(opt), sort_keys=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', sys.argv)
    monkeypatch.setattr(logger, 'initialized_logger', {})
    before = runs.files_under(tmp_path)
    assert train.main(['-opt', 'x.yml', '--dry_run']) == 0
    out = capsys.readouterr().out
    for part in (
        'net_g ',
        'net_d ',
        'net_g.backbone',
        'backward passes',
        'optimizers',
        'waiting for data',
        'CycleCons',
    ):
        assert f'  {part}' in out, part
    assert 'iteration 12:' in out and 'emory of the process' in out
    assert runs.files_under(tmp_path) == before and not (tmp_path / 'experiments').exists()
    assert test.main(['-opt', 'x.yml', '--dry_run']) == 2
    assert 'it is for trainings' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('train', 'iteration'),
    [
        ({'net_d_reg_every': 16, 'cycle_every': 2, 'cycle_start': 1e2, 'net_d_init_iters': 5}, 112),
        ({'net_d_reg_every': 16, 'cycle_start': 16}, 32),
        ({'cycle_every': 3}, 48),  # R1: by default every 16
    ],
)
def test_everything_is_due_in_the_iteration_of_a_dry_run(train: dict, iteration: int) -> None:
    assert costly_iteration(MODEL_REGISTRY.get('RefSTARModel'), train) == iteration
