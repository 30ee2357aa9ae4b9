"""`refstar demo` from end to end, everything shrunk; its steps, its log reader and its derived option files."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.recipes import plain
from helpers.runs import python, succeeded
from helpers.shrink import replace_files, shrink

from refstar.tools import demo_options
from refstar.tools.demo_options import TESTS, TRAININGS, Step, plan, put
from refstar.tools.demo_progress import Progress
from refstar.tools.demo_steps import Ledger, alone
from refstar.trainer.option_check import check_options
from refstar.trainer.option_file import load_options
from refstar.utils.errors import RefStarError
from refstar.utils.training_log import parse_line, read_log

LINE = (
    '2026-11-21 00:06:51,123 INFO: [demo_..][epoch:  0, iter:   1,340, lr:(2.000e-03,)] [eta: 0:01:02, '
    'time (data): 0.123 (0.003)] l_pixel: 1.5000e-01 l_sel_bce: 5.0000e-02 l_d: 3.0000e+00 real_score: -1.0000e-01 '
)


def differences(small, shipped, prefix=''):
    """Dotted keys whose value differs."""
    for key, value in small.items():
        if isinstance(value, dict) and isinstance(shipped.get(key), dict):
            yield from differences(value, shipped[key], f'{prefix}{key}.')
        elif key not in shipped or shipped[key] != value:
            yield f'{prefix}{key}', value


def tiny_overrides() -> dict:
    """Every step shrunk as in the tests of the shipped files, but with the weights of the earlier steps."""
    table = {}
    for name in TRAININGS + TESTS:
        shipped = load_options(demo_options.shipped(name))
        table[name] = dict(differences(plain(shrink(shipped)), plain(shipped)))
    return table


def write_overrides(path: Path, table: dict) -> Path:
    path.write_text(yaml.safe_dump(table))
    return path


def demo(folder: Path, *args: object) -> subprocess.CompletedProcess:
    return python('-m', 'refstar.tools.demo', '--overrides', 'tiny.yml', *args, cwd=folder, timeout=550)


@pytest.fixture(scope='module')
def finished(tmp_path_factory) -> Path:
    """A folder in which the shrunk demo has run."""
    folder = tmp_path_factory.mktemp('demo')
    write_overrides(folder / 'tiny.yml', tiny_overrides())
    output = succeeded(demo(folder))
    assert 'left for all' in output
    assert 'report.html' in output
    return folder


@pytest.mark.slow
def test_summary(finished):
    summary = json.loads((finished / 'results/demo/summary.json').read_text())
    assert 0 <= summary['refsel']['iou'] <= 1
    assert set(summary['refstar']) == {'right', 'none', 'wrong'}
    for row in [*summary['refstar'].values(), summary['backbone']]:
        assert {'psnr', 'ssim', 'detail', 'lpips_or_null'} <= set(row)
        assert row['psnr'] > 0
    assert summary['images'] == 4
    assert summary['identities'] == 2
    assert set(summary['seconds']) == {*TRAININGS, *TESTS, 'total'}
    assert {'torch', 'basicsr', 'refstar'} <= set(summary['versions'])
    assert set(summary['checks']['refsel.iou']) == {'value', 'wanted', 'reached'}


@pytest.mark.slow
def test_report_is_self_contained(finished):
    page = (finished / 'results/demo/report.html').read_text()
    assert page.count('data:image/png;base64,') >= 12
    assert page.count('<svg') == 3
    assert 'basicsr train -opt results/demo/options/refsel.yml' in page
    assert 'http' not in page.replace('http://www.w3.org/2000/svg', '')


@pytest.mark.slow
def test_finished_steps_are_skipped_and_an_interrupted_one_goes_on(finished):
    ledger = finished / 'results/demo/steps.json'
    before = json.loads(ledger.read_text())
    assert all(row['done'] for row in before.values())
    weights = finished / 'experiments/demo_refsel/models/net_g_latest.pth'
    made = weights.stat().st_mtime_ns
    before['refstar']['done'] = False
    ledger.write_text(json.dumps(before))
    output = succeeded(demo(finished))
    assert 'demo_refsel: done earlier' in output
    assert weights.stat().st_mtime_ns == made
    assert 'Resuming training from' in (finished / 'results/demo/logs/refstar.log').read_text()
    assert not list(finished.glob('experiments/*_archived_*'))


@pytest.mark.slow
def test_a_failing_step_shows_its_log_and_ends(tmp_path):
    table = tiny_overrides()
    table['refsel']['train.total_itre'] = 3
    write_overrides(tmp_path / 'tiny.yml', table)
    done = demo(tmp_path)
    assert done.returncode == 2
    assert "unknown key 'total_itre'" in done.stderr
    assert 'step refsel failed' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'results/demo/summary.json').exists()


def fingerprints(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.fingerprint for step in steps}


def changed(tmp_path: Path, table: dict) -> set[str]:
    """Steps that start afresh because of these overrides."""
    old = fingerprints(plan('demo', 'demo', tmp_path))
    new = fingerprints(plan('demo', 'demo', tmp_path, write_overrides(tmp_path / 'x.yml', table)))
    return {name for name in old if old[name] != new[name]}


def test_a_changed_option_restarts_its_step_and_those_that_use_it(tmp_path):
    assert changed(tmp_path, {'refstar': {'train.grad_clip': 0.5}}) == {'refstar', 'test_refstar'}
    assert changed(tmp_path, {'backbone': {'manual_seed': 5}}) == {'backbone', 'test_backbone'}
    users = {'refsel', 'test_refsel', 'refstar', 'test_refstar'}
    assert changed(tmp_path, {'refsel': {'manual_seed': 5}}) == users
    assert changed(tmp_path, {'refsel': {'logger.print_freq': 7}}) == set()


def test_names_of_another_run(tmp_path):
    for step in plan('demo', 'mine', tmp_path):
        assert step.experiment == f'mine_{step.name}'
        assert 'demo_' not in step.file.read_text()
        assert load_options(step.file) == step.options


def test_experiment_is_the_demo_with_overrides(tmp_path):
    demo, experiment = plan('demo', 'demo', tmp_path / 'a'), plan('experiment', 'experiment', tmp_path / 'b')
    for short, long in zip(demo, experiment, strict=True):
        assert long.experiment == f'experiment_{long.name}'
        assert long.iterations >= short.iterations
        assert long.options['model_type'] == short.options['model_type']
        check_options(replace_files(long.options, tmp_path / 'files'), long.command == 'train')
        if long.command == 'train':
            assert sum(long.options['train']['scheduler']['periods']) == long.iterations
    by_name = {step.name: step for step in experiment}
    assert by_name['backbone'].iterations >= by_name['refstar'].iterations  # the baseline is not the less trained one


def test_wrong_overrides_are_named(tmp_path):
    with pytest.raises(RefStarError, match=r'no block datasets\.trian'):
        put({'datasets': {}}, 'datasets.trian.seed', 1)
    with pytest.raises(RefStarError, match='expected a step'):
        plan('demo', 'demo', tmp_path, write_overrides(tmp_path / 'x.yml', {'refsle': {}}))


def test_log_line():
    entry = parse_line(LINE)
    assert entry.iteration == 1340
    assert entry.terms == {'l_pixel': 0.15, 'l_sel_bce': 0.05, 'l_d': 3.0, 'real_score': -0.1}
    assert entry.loss == pytest.approx(0.2)
    assert parse_line('2026 INFO: Saving models and training states.') is None


def test_log_of_a_resumed_run(tmp_path):
    path = tmp_path / 'x.log'
    path.write_text('\n'.join([LINE, LINE.replace('1,340', '1,360'), LINE.replace('1.5000e-01', '9.0000e-01')]))
    assert [(e.iteration, e.terms['l_pixel']) for e in read_log(path)] == [(1340, 0.9), (1360, 0.15)]


def test_remaining_time(tmp_path):
    a, b, c, d = (Step(name, 'train', name, Path(name), {'train': {'total_iter': 10}}, name) for name in 'abcd')
    ledger = Ledger(tmp_path / 'steps.json')
    progress = Progress([[a, b], [c], [d]], ledger, {'a': 100, 'b': 80, 'c': 200, 'd': 50})
    assert progress.remaining(0, [(a, 0.0, 0.0), (b, 0.0, 0.0)]) == 350
    assert progress.remaining(0, [(a, 0.5, 100), (b, 0.5, 80)]) == 100 + 2 * 250  # half as fast as foreseen


def test_two_at_once_are_refused(tmp_path):
    with alone(tmp_path) as lock:
        assert lock > 2
        with pytest.raises(RefStarError, match='is running here'), alone(tmp_path, patience=0):
            pass
    with alone(tmp_path, patience=0):
        pass


def test_broken_ledger_is_named(tmp_path):
    (tmp_path / 'steps.json').write_text('{')
    with pytest.raises(RefStarError, match=r'steps\.json: broken'):
        Ledger(tmp_path / 'steps.json')
