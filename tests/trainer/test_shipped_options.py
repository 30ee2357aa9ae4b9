"""Every option file that is shipped: its keys are known, and everything that it names runs together for one step."""

import json
from pathlib import Path

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils import make_exp_dirs
from helpers.recipes import OPTIONS, parsed
from helpers.shrink import SAMPLES, SIZE, blocks, replace_files, shrink
from torch.utils.data import default_collate

from refstar.trainer.option_check import check_options
from refstar.trainer.option_file import load_options

BATCH = 8  # enough that one of them has a reference whose truth is known
# Files of `options` that are not for `basicsr train` or `basicsr test`.
TABLES = {'demo/experiment.yml'}
SHIPPED = sorted(p.relative_to(OPTIONS).as_posix() for p in OPTIONS.rglob('*.yml'))
RUNS = [name for name in SHIPPED if name not in TABLES]


@pytest.fixture(scope='session')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('files')


def is_training(opt: dict) -> bool:
    return 'train' in opt['datasets']


def test_something_is_shipped():
    assert {'demo', 'train', 'test'} <= {name.split('/')[0] for name in RUNS}


@pytest.mark.parametrize('name', RUNS)
def test_keys(name, folder):
    opt = replace_files(load_options(OPTIONS / name), folder)
    check_options(opt, is_training(opt))


@pytest.mark.parametrize('name', RUNS)
def test_no_path_of_a_machine(name):
    for block in blocks(load_options(OPTIONS / name)):
        assert not [v for v in block.values() if isinstance(v, str) and v.startswith(('/', '~'))]


@pytest.mark.parametrize('name', RUNS)
def test_no_port_that_would_override_a_jobs_own(name):
    assert 'port' not in (load_options(OPTIONS / name).get('dist_params') or {})


@pytest.mark.parametrize('name', RUNS)
def test_one_step(name, folder, tmp_path, monkeypatch):
    opt = parsed(shrink(replace_files(load_options(OPTIONS / name), folder)), tmp_path, monkeypatch)
    make_exp_dirs(opt)
    model = build_model(opt)
    if opt['is_train']:
        step(model, opt)
    for phase, block in opt['datasets'].items():
        if phase.split('_')[0] in ('val', 'test'):
            evaluate(model, opt, block)


def step(model, opt: dict) -> None:
    """Two iterations change every part that has weights to be trained, by finite losses: what starts at zero passes
    gradients on from the second on. Three, where one such part is behind another."""
    dataset = build_dataset(opt['datasets']['train'])
    net = model.get_bare_model(model.net_g)
    before = {k: p.clone() for k, p in net.named_parameters()}
    trained = {k.split('.')[0] for k, p in net.named_parameters() if p.requires_grad}
    model.feed_data(default_collate([dataset[i] for i in range(BATCH)]))
    assert model.lq.shape[2] == SIZE // opt.get('scale', 1)
    for iteration in (1, 2, 3):
        model.update_learning_rate(iteration, warmup_iter=-1)
        model.optimize_parameters(iteration)
        changed = {k for k, p in net.named_parameters() if not torch.equal(p, before[k])}
        parts = {k.split('.')[0] for k in changed}
        if iteration == 2 and parts == trained:
            break
    losses = {k: v for k, v in model.get_current_log().items() if k.startswith('l_')}
    wanted = [k for k, v in opt['train'].items() if k.endswith('_opt') and v]
    assert len(losses) >= len(wanted)
    assert all(torch.isfinite(torch.tensor(v)) for v in losses.values()), losses
    assert trained and trained == parts
    assert not [k for k in changed if k.startswith(tuple(f'{m}.' for m in opt['train'].get('freeze') or ['\n']))]


def evaluate(model, opt: dict, block: dict) -> None:
    """A few photos through BasicSR's validation: figures of every metric, and pictures."""
    dataset = build_dataset(block)
    loader = torch.utils.data.DataLoader(torch.utils.data.Subset(dataset, range(min(SAMPLES, len(dataset)))))
    loader.dataset.opt = dataset.opt
    model.nondist_validation(loader, opt['name'] if not opt['is_train'] else 1, None, save_img=True)
    assert list(Path(opt['path']['visualization']).rglob('*.png'))
    figures = list(Path(opt['path']['log']).glob('metrics_*.json'))
    if figures:  # written by this project's models, not by BasicSR's own
        arms = json.loads(figures[0].read_text())['arms']
        assert arms
        assert all(set(row) == set(opt['val'].get('metrics') or {}) for row in arms.values())
