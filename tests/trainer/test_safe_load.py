"""Files and arguments that would run code, or fill the memory, are refused with one line; nothing of them is run."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from helpers import forked, runs
from test_shipped_options import plain

from refstar.data.collections.lmdb_images import names_in
from refstar.tools.test import main as run_test
from refstar.tools.train import main as train
from refstar.trainer.option_file import load_options
from refstar.utils.errors import RefStarError
from refstar.utils.yaml_files import read_yaml


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


# --------------------------------------------------------------------- pickles
def as_checkpoint(folder: Path, opt: dict) -> str:
    opt['path']['pretrain_network_g'] = 'evil.pth'
    torch.save({'params': Evil()}, folder / 'evil.pth')
    return 'evil.pth'


def as_bare_pickle(folder: Path, opt: dict) -> str:
    opt['path']['pretrain_network_g'] = 'evil.pth'
    (folder / 'evil.pth').write_bytes(pickle.dumps(Evil()))
    return 'evil.pth'


def as_resume_state(folder: Path, opt: dict) -> str:
    opt['path']['resume_state'] = 'evil.state'
    torch.save({'epoch': 0, 'iter': 2, 'optimizers': [Evil()], 'schedulers': []}, folder / 'evil.state')
    return 'evil.state'


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


PICKLES = [
    ('sr_tiny', as_checkpoint),
    ('sr_tiny', as_bare_pickle),
    ('sr_tiny', as_resume_state),
    ('sr_tiny', as_latest_state),
    ('gfpgan_simple_small', as_components),
    ('gfpgan_simple_small', as_decoder),
]


def refused(folder: Path, call: object) -> str:
    """The one line with which a command has ended."""
    assert forked.ended(forked.start(folder, call)) == 2, (folder / 'log.txt').read_text()[-3000:]
    log = (folder / 'log.txt').read_text()
    errors = [line for line in log.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and 'Traceback' not in log
    assert not (folder / 'evil').exists()
    return errors[0]


@pytest.mark.parametrize(('recipe', 'hide'), PICKLES)
def test_a_pickle_is_refused_in_training(recipe: str, hide: object, folder: Path) -> None:
    opt = load_options(runs.FIXTURES / f'{recipe}.yml')
    name = hide(folder, opt)
    runs.write_options(folder / 'x.yml', plain(opt))
    arguments = ['-opt', 'x.yml', *(['--auto_resume'] if hide is as_latest_state else [])]
    message = refused(folder, lambda: train(arguments))
    assert f'{name}: holds Python objects besides tensors and plain values' in message


def test_a_pickle_is_refused_in_tests(folder: Path) -> None:
    opt = load_options(runs.FIXTURES / 'gfpgan_simple_small.yml')
    as_decoder(folder, opt)
    opt['datasets'] = {'test': opt['datasets']['val']}
    for key in ('train', 'logger', 'network_d'):
        del opt[key]
    opt['val'] = {'save_img': False}
    opt['path'] = {}
    runs.write_options(folder / 'x.yml', plain(opt))
    assert 'evil.pth: holds Python objects' in refused(folder, lambda: run_test(['-opt', 'x.yml']))


def test_a_pickle_is_no_lmdb(folder: Path) -> None:
    database = folder / 'faces.lmdb'
    database.mkdir()
    (database / 'data.mdb').write_bytes(pickle.dumps(Evil()))
    (database / 'meta_info.txt').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RefStarError, match=r'faces\.lmdb'):
        names_in(database)
    import lmdb

    (database / 'data.mdb').unlink()
    lmdb.open(str(database)).close()
    with pytest.raises(RefStarError, match=r'meta_info\.txt'):
        names_in(database)
    assert not (folder / 'evil').exists()


# --------------------------------------------------------------------- option files and --force_yml
FILES = {
    "name: !!python/object/apply:os.mkdir ['evil']": 'could not determine a constructor',
    'name: !!python/name:os.mkdir': 'could not determine a constructor',
    '!!python/object/new:os.mkdir [evil]': 'could not determine a constructor',
}


@pytest.mark.parametrize('text', FILES, ids=range(len(FILES)))
def test_an_option_file_runs_nothing(text: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / 'x.yml').write_text(text)
    assert train(['-opt', 'x.yml']) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith('error: x.yml: no valid YAML: ') and FILES[text] in lines[0]
    assert not (folder / 'evil').exists()


def test_aliases_that_a_person_would_write_are_fine() -> None:
    text = 'a: &a {x: 1, y: [2, 3]}\nb: {<<: *a, x: 4}\nc: [*a, *a]\n'
    assert read_yaml(text) == {'a': {'x': 1, 'y': [2, 3]}, 'b': {'x': 4, 'y': [2, 3]}, 'c': [{'x': 1, 'y': [2, 3]}] * 2}


FORCED = {
    "name=!!python/object/apply:os.mkdir ['evil']": 'could not determine a constructor',
    'name"]; __import__("os").mkdir("evil"); opt["name=1': 'unknown key',
    'train:total_iter"]=__import__("os").mkdir("evil") or opt["name=1': 'unknown key',
    'train:total_iter=[__import__("os").mkdir("evil")]': None,
}


@pytest.mark.parametrize('entry', FORCED, ids=range(len(FORCED)))
def test_a_forced_option_runs_nothing(entry: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    options = runs.FIXTURES / 'sr_tiny.yml'
    if FORCED[entry] is None:  # BasicSR evaluates a list
        assert load_options(options, [entry])['train']['total_iter'] == ['__import__("os").mkdir("evil")']
    else:
        assert train(['-opt', str(options), '--force_yml', entry]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith('error: ') and FORCED[entry] in lines[0]
    assert not (folder / 'evil').exists()
