"""Errors and signals that end a run in order: one line, nothing of a pickle is run."""

import os
import pickle
import signal
from pathlib import Path

import pytest
import torch
from helpers import runs
from helpers.recipes import plain

from refstar.tools.test import main as run_test
from refstar.tools.train import main as train
from refstar.trainer import interruption
from refstar.trainer.option_file import load_options
from refstar.utils.errors import RefStarError


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB'), 'out of GPU memory'),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 'out of memory'),
        (MemoryError(), 'out of memory'),
    ],
)
def test_too_little_memory_is_one_line(error: Exception, text: str) -> None:
    with (
        pytest.raises(RefStarError, match=f'{text}.*batch_size_per_gpu'),
        interruption.ends_in_order(),
    ):
        raise error


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match='another'), interruption.ends_in_order():
        raise RuntimeError('another')
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# --------------------------------------------------------------------- pickles
class Evil:
    """Makes a folder `evil` when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ('evil',)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for part in ('gt', 'lq'):
        runs.write_images(tmp_path / 'datasets' / part, 2)
    return tmp_path


def as_checkpoint(folder: Path, opt: dict) -> str:
    opt['path']['pretrain_network_g'] = 'evil.pth'
    torch.save({'params': Evil()}, folder / 'evil.pth')
    return 'evil.pth'


def as_bare_pickle(folder: Path, opt: dict) -> str:
    opt['path']['pretrain_network_g'] = 'evil.pth'
    (folder / 'evil.pth').write_bytes(pickle.dumps(Evil()))
    return 'evil.pth'


def as_latest_state(folder: Path, opt: dict) -> str:
    states = folder / f'experiments/{opt["name"]}/training_states'
    states.mkdir(parents=True)
    torch.save(Evil(), states / '2.state')
    return '2.state'


def as_components(folder: Path, opt: dict) -> str:
    opt['datasets']['train'].update(crop_components=True, component_path='evil.pth')
    torch.save({'00000000': Evil()}, folder / 'evil.pth')
    return 'evil.pth'


def as_decoder(folder: Path, opt: dict) -> str:
    opt['network_g']['decoder_load_path'] = 'evil.pth'
    torch.save({'params_ema': Evil()}, folder / 'evil.pth')
    return 'evil.pth'


@pytest.mark.parametrize(
    ('recipe', 'hide'),
    [
        ('sr_tiny', as_checkpoint),
        ('sr_tiny', as_bare_pickle),
        ('sr_tiny', as_latest_state),
        ('gfpgan_simple_small', as_components),
        ('gfpgan_simple_small', as_decoder),
    ],
)
def test_a_pickle_is_refused_in_training(recipe: str, hide: object, folder: Path, run_here, capsys) -> None:
    opt = load_options(runs.FIXTURES / f'{recipe}.yml')
    name = hide(folder, opt)
    runs.write_options(folder / 'x.yml', plain(opt))
    assert train(['-opt', 'x.yml', *(['--auto_resume'] if hide is as_latest_state else [])]) == 2
    assert f'{name}: holds Python objects' in capsys.readouterr().err
    assert not (folder / 'evil').exists()


def test_a_web_page_that_gfpgan_reads_is_named(folder: Path, run_here, capsys) -> None:
    opt = load_options(runs.FIXTURES / 'gfpgan_simple_small.yml')
    opt['network_g']['decoder_load_path'] = 'page.pth'
    (folder / 'page.pth').write_text('<!doctype html>')
    runs.write_options(folder / 'x.yml', plain(opt))
    assert train(['-opt', 'x.yml']) == 2
    assert 'page.pth: is a web page' in capsys.readouterr().err


def test_a_pickle_is_refused_in_tests(folder: Path, run_here, capsys) -> None:
    opt = load_options(runs.FIXTURES / 'gfpgan_simple_small.yml')
    as_decoder(folder, opt)
    opt['datasets'] = {'test': opt['datasets']['val']}
    for key in ('train', 'logger', 'network_d'):
        del opt[key]
    opt.update(val={'save_img': False}, path={})
    runs.write_options(folder / 'x.yml', plain(opt))
    assert run_test(['-opt', 'x.yml']) == 2
    assert 'evil.pth: holds Python objects' in capsys.readouterr().err and not (folder / 'evil').exists()


CODE = [
    "name: !!python/object/apply:os.mkdir ['evil']",
    '!!python/object/new:os.mkdir [x]',
    "name=!!python/object/apply:os.mkdir ['evil']",
    'train:total_iter"]=__import__("os").mkdir("evil") or opt["name=1',
]


@pytest.mark.parametrize('text', CODE)
def test_options_run_nothing(text: str, folder: Path, run_here, capsys) -> None:
    """In an option file, and in `--force_yml`."""
    (folder / 'x.yml').write_text(text)
    forced = ['-opt', str(runs.FIXTURES / 'sr_tiny.yml'), '--force_yml', text]
    assert train(forced if '=' in text else ['-opt', 'x.yml']) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1 and not (folder / 'evil').exists()


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a command run in this process as in one of its own."""
    import sys

    from basicsr.utils import logger

    monkeypatch.setattr(sys, 'argv', sys.argv)
    monkeypatch.setattr(logger, 'initialized_logger', {})


def test_a_pickle_is_no_lmdb(folder: Path) -> None:
    from refstar.data.images import names_in

    database = folder / 'faces.lmdb'
    database.mkdir()
    (database / 'data.mdb').write_bytes(pickle.dumps(Evil()))
    (database / 'meta_info.txt').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RefStarError, match=r'faces\.lmdb'):
        names_in(database)
    assert not (folder / 'evil').exists()
