"""A training whose disk is full: a tiny file system of its own, as small disks of clouds and quotas are."""

import errno
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import kill_resume, runs

from refstar.trainer import run_guard
from refstar.trainer.option_file import load_options
from refstar.utils.checkpoint import load_file

NAME, LAST = 'sr_tiny', 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with photos."""
    for part in ('gt', 'lq'):
        runs.write_images(tmp_path / 'datasets' / part, 6)
    return tmp_path


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A file system of 8 MB, mounted."""
    place = folder / 'disk'
    place.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', place]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f'no small disk can be mounted here: {getattr(error, "stderr", error)}')
    try:
        yield place
    finally:
        subprocess.run(['umount', '-l', place], check=True)


def recipe() -> dict:
    opt = load_options(runs.FIXTURES / f'{NAME}.yml')
    opt['train'].update(total_iter=LAST, scheduler={'type': 'MultiStepLR', 'milestones': [5]})
    opt['logger'].update(save_checkpoint_freq=1, use_tb_logger=True)
    opt['val'].update(val_freq=3, save_img=True)
    return opt


def fill(disk: Path, leave: int) -> Path:
    """Writes a file that leaves so many bytes free; returns it."""
    ballast = disk / 'ballast'
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - leave))
    return ballast


def test_a_full_disk_is_one_message_and_what_was_saved_is_good(folder: Path, disk: Path) -> None:
    shutil.move(kill_resume.finish(folder, recipe()), folder / 'whole')
    shutil.rmtree(folder / 'experiments'), shutil.rmtree(folder / 'tb_logger'), (folder / 'log.txt').unlink()
    for name in ('experiments', 'tb_logger'):
        (disk / name).mkdir()
        (folder / name).symlink_to(disk / name)
    checkpoint = sum(path.stat().st_size for path in (folder / 'whole').rglob('*') if path.stem in ('net_g_1', '1'))
    ballast = fill(disk, leave=int(6.5 * checkpoint))

    assert kill_resume.ended(kill_resume.start(folder, recipe())) == 2
    log = (folder / 'log.txt').read_text()
    errors = [line for line in log.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and 'Traceback' not in log, log[-3000:]
    assert 'Is the disk full?' in errors[0] and '--auto_resume' in errors[0]
    run = folder / 'experiments' / NAME
    saved = max(int(path.stem) for path in (run / 'training_states').glob('*.state'))
    assert 1 < saved < 8 and f'Iteration {saved} is saved' in errors[0]
    assert not list(run.rglob('*.part')) and load_file(run / f'models/net_g_{saved}.pth')

    ballast.unlink()
    assert kill_resume.differences(folder / 'whole', kill_resume.finish(folder, recipe()), LAST) == []
    assert f'iter: {saved}.' in (folder / 'log.txt').read_text()


def test_a_disk_that_is_full_from_the_start_is_one_message(folder: Path, disk: Path) -> None:
    (folder / 'experiments').symlink_to(disk / 'experiments')
    (disk / 'experiments').mkdir()
    fill(disk, leave=0)
    assert kill_resume.ended(kill_resume.start(folder, recipe())) == 2
    log = (folder / 'log.txt').read_text()
    errors = [line for line in log.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and 'Traceback' not in log, log[-3000:]
    assert 'Is the disk full?' in errors[0] and 'Nothing was saved yet.' in errors[0]


@pytest.mark.parametrize(('number', 'shown'), [(errno.ENOSPC, False), (errno.EACCES, True)])
def test_threads_of_tensorboard_leave_a_full_disk_to_the_trainer(
    number: int, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer raises again in the main thread what went wrong in its own."""
    seen: list[object] = []
    monkeypatch.setattr(threading, 'excepthook', seen.append)

    def write() -> None:
        raise OSError(number, 'no space left')

    def train(root_path: str) -> None:
        thread = threading.Thread(target=write)
        thread.start(), thread.join()

    run_guard.guarded(train)('.')
    assert bool(seen) == shown
    assert threading.excepthook == seen.append
