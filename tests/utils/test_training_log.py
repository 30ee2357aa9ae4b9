"""What is read from the logs of trainings."""

import pytest
from helpers.training_logs import psnr, write_log

from refstar.utils.training_log import parse_line, read_run

LINE = (
    '2026-11-21 00:06:51,123 INFO: [demo_..][epoch:  0, iter:   1,340, lr:(2.000e-03,)] [eta: 0:01:02, '
    'time (data): 0.123 (0.003)] l_pixel: 1.5000e-01 l_sel_bce: 5.0000e-02 l_d: 3.0000e+00 real_score: -1.0000e-01 '
)


def test_line_holds_iteration_and_terms():
    entry = parse_line(LINE)
    assert entry.iteration == 1340
    assert entry.terms == {'l_pixel': 0.15, 'l_sel_bce': 0.05, 'l_d': 3.0, 'real_score': -0.1}
    assert entry.loss == pytest.approx(0.2)
    assert parse_line('2026 INFO: Saving models and training states.') is None


@pytest.mark.parametrize(
    ('printed', 'every', 'validated'),
    [(1, 4, (4, 8, 12)), (4, 4, (4, 8, 12)), (3, 4, (4, 8, 12)), (6, 2, (2, 4, 6, 8, 10, 12)), (2, 3, (3, 6, 9, 12))],
)
def test_validations_get_their_iterations(tmp_path, printed, every, validated):
    write_log(tmp_path / 'run', range(printed, 13, printed), psnr(*validated), val_freq=every)
    found = read_run(tmp_path / 'run')
    assert sorted(found.entries) == list(range(printed, 13, printed))
    assert found.metrics == {('val', 'psnr'): {i: 20 + i for i in validated}}


def test_last_validation_is_of_the_last_iteration(tmp_path):
    write_log(tmp_path / 'run', range(1, 13), {**psnr(5, 10), 13: {'val': {'psnr': 50}}}, val_freq=5, ended=True)
    assert read_run(tmp_path / 'run').metrics['val', 'psnr'] == {5: 25, 10: 30, 12: 50}


def test_resume_drops_what_the_killed_run_did_later(tmp_path):
    folder = tmp_path / 'run'
    write_log(folder, range(1, 9), psnr(4, 8), '20261121_100000')
    write_log(folder, range(7, 12), {8: {'val': {'psnr': 1.0}}}, '20261121_090000', factor=3)  # by its name the first
    history = read_run(folder)
    assert history.entries[7].terms['l_pix'] == pytest.approx(1 / 7, rel=1e-4) and max(history.entries) == 8
    write_log(folder, range(5, 7), {}, '20261121_110000', factor=5)
    history = read_run(folder)
    assert sorted(history.entries) == [1, 2, 3, 4, 5, 6] and history.metrics['val', 'psnr'] == {4: 24}
    assert history.entries[5].terms['l_pix'] == 1 and history.entries[4].terms['l_pix'] == 0.25
