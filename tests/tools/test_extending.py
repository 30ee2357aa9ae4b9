"""`docs/extending.md` as printed: its files are written, its command is run, its tests are called."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY
from helpers import runs

DOC = (Path(__file__).parents[2] / 'docs/extending.md').read_text(encoding='utf-8')


def printed(language: str, heading: str = 'References in your own network') -> list[str]:
    """Snippets of one language under one heading."""
    section = DOC.split(f'## {heading}\n')[1].split('\n## ')[0]
    return re.findall(rf'```{language}\n(.*?)```', section, re.DOTALL)


def test_own_arch_trains(tmp_path):
    files = {'my_arch.py': printed('python')[0], 'my.yml': printed('yaml')[0]}
    assert sum(line.strip() != '' for text in files.values() for line in text.splitlines()) < 40
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command, *arguments = printed('bash')[0].split()
    assert (command, arguments.pop(0)) == ('basicsr', 'train')
    log = runs.succeeded(runs.train(*arguments, cwd=tmp_path))
    assert 'l_pixel' in log and 'l_sel_bce' in log
    state = torch.load(tmp_path / 'experiments/my_run/models/net_g_latest.pth', weights_only=True)['params']
    assert {'backbone.head.weight', 'transfer.0.project.weight'} <= set(state)


def test_unknown_arch_and_module_are_named(tmp_path):
    (tmp_path / 'my.yml').write_text(printed('yaml')[0])
    assert "unknown network 'MyNet'" in runs.user_error(runs.train('-opt', 'my.yml', cwd=tmp_path))
    message = runs.user_error(runs.train('--import', 'my_arch', '-opt', 'my.yml', cwd=tmp_path))
    assert '--import my_arch: no such module' in message


@pytest.mark.parametrize(
    ('heading', 'registry', 'name', 'file'),
    [
        ('A metric', METRIC_REGISTRY, 'calculate_mae', 'metrics.mae_metric'),
        ('A loss', LOSS_REGISTRY, 'MeanColourLoss', 'losses.mean_colour_loss'),
    ],
)
def test_own_metric_and_loss_pass_their_printed_tests(heading, registry, name, file, monkeypatch):
    monkeypatch.setattr(registry, '_obj_map', dict(registry._obj_map))
    code, test = printed('python', heading)
    module, names = ModuleType(f'refstar.{file}'), {}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, vars(module))
    exec(test, names)
    assert name in registry
    next(value for key, value in names.items() if key.startswith('test_'))()
