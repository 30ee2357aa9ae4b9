"""`--dry_run`: one step of everything, and nothing written."""

import signal
import sys
from pathlib import Path

import pytest
import yaml
from basicsr.utils import logger
from basicsr.utils.registry import MODEL_REGISTRY
from helpers import runs
from helpers.shrink import replace_files, shrink
from test_shipped_options import OPTIONS, plain

from refstar.tools import test, train
from refstar.trainer.dry_run import costly_iteration
from refstar.trainer.known_keys import explanations
from refstar.trainer.option_file import load_options
from refstar.trainer.run_guard import guarded
from refstar.trainer.step_timer import Clock


def test_a_dry_run_prints_parts_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    opt = shrink(replace_files(load_options(OPTIONS / 'train/refstar_gfpgan_512.yml'), tmp_path / 'files'))
    opt['train'].update(net_d_reg_every=4, cycle_every=3, net_d_start=10, amp='bf16')
    opt['logger']['use_tb_logger'] = True
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
    assert 'iteration 12:' in out and 'Largest memory of the process' in out
    assert runs.files_under(tmp_path) == before and not (tmp_path / 'experiments').exists()
    assert test.main(['-opt', 'x.yml', '--dry_run']) == 2
    assert 'it is for trainings' in capsys.readouterr().err


def test_everything_is_due_in_the_iteration_that_is_tried() -> None:
    assert costly_iteration({}, {}) == 1
    train = {'net_d_reg_every': 16, 'cycle_every': 2, 'cycle_start': 1e2, 'net_d_init_iters': 5}
    assert costly_iteration(train, {}) == 112
    assert costly_iteration({'net_d_reg_every': 16, 'cycle_start': 16}, {}) == 32


def test_what_the_file_leaves_out_is_the_models_default() -> None:
    told = explanations(MODEL_REGISTRY.get('RefSTARModel'))
    assert costly_iteration({'cycle_every': 3}, told) == 48  # R1: every 16
    assert costly_iteration({'cycle_every': 3, 'net_d_reg_every': 2}, told) == 6


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_dry_run_at_once(number: signal.Signals) -> None:
    def build(root_path: str) -> None:
        signal.raise_signal(number)
        pytest.fail('went on')

    with pytest.raises(SystemExit) as ended:
        guarded(build, saves=False)('.')
    assert ended.value.code == 128 + number


def test_time_within_a_part_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr('time.perf_counter', lambda: next(ticks))
    clock = Clock()
    with clock.part('outer'):
        with clock.part('inner'):
            pass
        with clock.part('inner'):
            pass
    assert clock.seconds == {'outer': 3, 'inner': 2}
