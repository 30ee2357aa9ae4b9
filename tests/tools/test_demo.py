"""`refstar demo` from end to end, with every step shrunk."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.runs import python, succeeded, user_error
from helpers.shrink import shrink

from refstar.evaluation.demo_steps import TESTS, TRAININGS, shipped
from refstar.trainer.option_file import load_options

OUT = Path('results/demo')


def differences(small, original, prefix=''):
    """Dotted keys whose value differs."""
    for key, value in small.items():
        if isinstance(value, dict) and isinstance(original.get(key), dict):
            yield from differences(value, original[key], f'{prefix}{key}.')
        elif key not in original or original[key] != value:
            yield f'{prefix}{key}', value


def tiny_overrides() -> dict:
    """Every step shrunk as in the tests of the shipped files, but with the weights of the earlier steps."""
    options = {name: json.loads(json.dumps(load_options(shipped(name)))) for name in TRAININGS + TESTS}
    return {name: dict(differences(shrink(opt), opt)) for name, opt in options.items()}


def run_demo(folder: Path, overrides: dict) -> subprocess.CompletedProcess:
    (folder / 'tiny.yml').write_text(yaml.safe_dump(overrides))
    return python('-m', 'refstar.tools.demo', '--overrides', 'tiny.yml', cwd=folder, timeout=550)


@pytest.fixture(scope='module')
def finished(tmp_path_factory) -> Path:
    """A folder in which the shrunk demo has run."""
    folder = tmp_path_factory.mktemp('demo')
    assert 'report.html' in succeeded(run_demo(folder, tiny_overrides()))
    return folder


def test_summary_holds_arms_checks_and_versions(finished):
    summary = json.loads((finished / OUT / 'summary.json').read_text())
    assert 0 <= summary['refsel']['iou'] <= 1
    assert set(summary['refstar']) == {'right', 'none', 'wrong'}
    for row in [*summary['refstar'].values(), summary['backbone']]:
        assert {'psnr', 'ssim', 'detail', 'lpips_or_null'} <= set(row)
        assert row['psnr'] > 0
    assert (summary['images'], summary['identities']) == (4, 2)
    assert set(summary['seconds']) == {*TRAININGS, *TESTS, 'total'}
    assert {'torch', 'basicsr', 'refstar'} <= set(summary['versions'])
    assert len(summary['checks']) == 8
    assert set(summary['checks']['refsel.iou']) == {'value', 'wanted', 'reached'}


def test_report_is_self_contained(finished):
    page = (finished / OUT / 'report.html').read_text()
    assert page.count('data:image/png;base64,') >= 12
    assert page.count('data:image/svg+xml;base64,') == 1
    assert 'basicsr train -opt results/demo/options/refsel.yml' in page
    assert '://' not in page


def test_only_the_unfinished_step_runs_again_and_resumes(finished):
    ledger = finished / OUT / 'steps.json'
    rows = json.loads(ledger.read_text())
    assert all(row['seconds'] > 0 for row in rows.values())
    weights = finished / 'experiments/demo_refsel/models/net_g_latest.pth'
    made = weights.stat().st_mtime_ns
    rows['refstar']['seconds'] = None
    ledger.write_text(json.dumps(rows))
    output = succeeded(run_demo(finished, tiny_overrides()))
    assert 'demo_refsel: done earlier' in output
    assert weights.stat().st_mtime_ns == made
    assert 'Resuming training from' in (finished / OUT / 'logs/refstar.log').read_text()
    assert not list(finished.glob('experiments/*_archived_*'))


def test_failing_step_is_named_with_its_error(tmp_path):
    table = tiny_overrides()
    table['refsel']['train.total_itre'] = 3
    message = user_error(run_demo(tmp_path, table))
    assert 'step refsel failed' in message
    assert 'total_itre' in message
    assert not (tmp_path / OUT / 'summary.json').exists()
