"""The processes of `refstar demo`, their lock and their ledger."""

import sys

import pytest

from refstar.evaluation import demo_run
from refstar.evaluation.demo_run import Ledger, Run, lock, seconds_left
from refstar.evaluation.demo_steps import TESTS, TRAININGS, Step
from refstar.utils.errors import RefStarError


def test_remaining_seconds_are_those_of_the_longest_steps():
    foreseen = dict.fromkeys(TESTS, 10) | {'refsel': 100, 'backbone': 80, 'refstar': 200}
    shares = dict.fromkeys(TRAININGS + TESTS, 0.0)
    assert seconds_left(shares, foreseen) == 310
    assert seconds_left(shares | {'refsel': 0.5, 'backbone': 0.25}, foreseen) == 270


def test_folder_is_locked_against_a_second_demo(tmp_path):
    with lock(tmp_path / 'lock'), pytest.raises(RefStarError, match='is running here'):
        lock(tmp_path / 'lock', patience=0)
    with lock(tmp_path / 'lock', patience=0):
        pass


def test_step_that_still_runs_is_not_started_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_run, 'PATIENCE', 0)
    step, ledger = Step('refsel', 'x_refsel', tmp_path / 'x.yml', {}, 'f'), Ledger(tmp_path / 'steps.json')
    with lock(tmp_path / 'logs/refsel.lock'), pytest.raises(RefStarError, match='is running here'):
        Run(step, lambda *_: [sys.executable, '-c', ''], tmp_path, ledger, 1)


def test_broken_ledger_is_named(tmp_path):
    (tmp_path / 'steps.json').write_text('{')
    with pytest.raises(RefStarError, match=r'steps\.json: broken'):
        Ledger(tmp_path / 'steps.json')
