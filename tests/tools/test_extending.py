"""`docs/extending.md` as printed: the files in it, the command in it."""

import re
from pathlib import Path

import torch
from helpers import runs

DOC = (Path(__file__).parents[2] / 'docs/extending.md').read_text(encoding='utf-8')


def printed(language: str) -> str:
    return re.search(rf'```{language}\n(.*?)```', DOC, re.DOTALL)[1]


def test_extending_by_an_own_arch(tmp_path):
    files = {'my_arch.py': printed('python'), 'my.yml': printed('yaml')}
    assert sum(line.strip() != '' for text in files.values() for line in text.splitlines()) < 40
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command, *arguments = printed('bash').split()
    assert (command, arguments.pop(0)) == ('basicsr', 'train')
    log = runs.succeeded(runs.train(*arguments, cwd=tmp_path))
    assert 'l_pixel' in log and 'l_sel_bce' in log
    state = torch.load(tmp_path / 'experiments/my_run/models/net_g_latest.pth', weights_only=True)['params']
    assert {'backbone.head.weight', 'transfer.0.project.weight'} <= set(state)


def test_extending_without_the_file_is_said(tmp_path):
    (tmp_path / 'my.yml').write_text(printed('yaml'))
    assert "unknown network 'MyNet'" in runs.user_error(runs.train('-opt', 'my.yml', cwd=tmp_path))
    message = runs.user_error(runs.train('--import', 'my_arch', '-opt', 'my.yml', cwd=tmp_path))
    assert '--import my_arch: no such module' in message
