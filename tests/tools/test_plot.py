"""`refstar plot`: what is read from the logs of runs, and the picture."""

import math
import time
from pathlib import Path

import cv2
import pytest
from helpers import kill_resume, runs

from refstar.tools import plot
from refstar.trainer.option_file import load_options
from refstar.utils.training_log import read_run

STAMP = '2026-11-21 10:00:00,000 INFO: '


def write_log(
    folder: Path,
    iterations: range,
    validated: dict[int, dict[str, dict[str, float]]] | None = None,
    time: str = '20261121_100000',
    val_freq: int = 4,
    factor: float = 1.0,
    ended: bool = False,
) -> Path:
    """A log as BasicSR writes it; `validated`: iteration -> data set -> metric -> figure."""
    lines = [f'{STAMP}\n  train:[\n    total_iter: 12\n  ]\n  val:[\n    val_freq: {val_freq}\n  ]']
    lines.append(f'{STAMP}Start training from epoch: 0, iter: {iterations.start - iterations.step}')
    left = dict(validated or {})

    def validate(last: int) -> None:
        for at in [at for at in left if at <= last]:
            lines.extend(validation(name, figures) for name, figures in left.pop(at).items())

    for i in iterations:
        validate(i - 1)
        terms = f'l_pix: {factor / i:.4e} l_g_gan: {-factor:.4e} l_d: 1.3000e+00 images_per_s: 2.0000e+00 '
        lines.append(f'{STAMP}[a_run..][epoch:  0, iter:{i:8,d}, lr:(1.000e-03,)] [eta: 0:00:01, time] {terms}')
    validate(12)
    if ended:
        lines.append(f'{STAMP}End of training. Time consumed: 0:00:09')
        validate(13)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f'train_{folder.name}_{time}.log'
    file.write_text('\n'.join(lines) + '\n')
    return file


def validation(name: str, figures: dict[str, float]) -> str:
    rows = [f'\t # {metric}: {value:.4f}\tBest: 99.0000 @ 4 iter' for metric, value in figures.items()]
    return '\n'.join([f'{STAMP}Validation {name}', *rows, ''])


def scores(*iterations: int, name: str = 'val', metric: str = 'psnr') -> dict:
    return {i: {name: {metric: 20 + i}} for i in iterations}


# --------------------------------------------------------------------- reading
@pytest.mark.parametrize(
    ('printed', 'every', 'validated'),
    [(1, 4, (4, 8, 12)), (4, 4, (4, 8, 12)), (3, 4, (4, 8, 12)), (6, 2, (2, 4, 6, 8, 10, 12)), (2, 3, (3, 6, 9, 12))],
)
def test_iterations_of_validations(tmp_path: Path, printed: int, every: int, validated: tuple) -> None:
    write_log(tmp_path / 'run', range(printed, 13, printed), scores(*validated), val_freq=every)
    found = read_run(tmp_path / 'run')
    assert sorted(found.entries) == list(range(printed, 13, printed))
    assert found.metrics == {('val', 'psnr'): {i: 20 + i for i in validated}}


def test_the_last_validation_is_of_the_last_iteration(tmp_path: Path) -> None:
    write_log(tmp_path / 'run', range(1, 13), {**scores(5, 10), 13: {'val': {'psnr': 50}}}, val_freq=5, ended=True)
    assert read_run(tmp_path / 'run').metrics['val', 'psnr'] == {5: 25, 10: 30, 12: 50}


def test_what_a_killed_run_did_after_its_checkpoint_is_void(tmp_path: Path) -> None:
    folder = tmp_path / 'run'
    write_log(folder, range(1, 9), scores(4, 8), '20261121_100000')
    write_log(folder, range(7, 12), {8: {'val': {'psnr': 1.0}}}, '20261121_090000', factor=3)  # by its name the first
    history = read_run(folder)
    assert history.entries[7].terms['l_pix'] == pytest.approx(1 / 7, rel=1e-4) and max(history.entries) == 8
    write_log(folder, range(5, 7), {}, '20261121_110000', factor=5)
    history = read_run(folder)
    assert sorted(history.entries) == [1, 2, 3, 4, 5, 6] and history.metrics['val', 'psnr'] == {4: 24}
    assert history.entries[5].terms['l_pix'] == 1 and history.entries[4].terms['l_pix'] == 0.25


def test_a_real_run_killed_and_resumed(tmp_path: Path) -> None:
    for part in ('gt', 'lq'):
        runs.write_images(tmp_path / 'datasets' / part, 6)
    opt = load_options(runs.FIXTURES / 'sr_tiny.yml')
    opt['train'].update(total_iter=3, scheduler={'type': 'MultiStepLR', 'milestones': [5]})
    opt['logger'].update(use_tb_logger=True, print_freq=3)
    kill_resume.finish(tmp_path, opt)  # saves at 2; 3 is lost
    time.sleep(1)  # a log is named by the second
    opt['train']['total_iter'] = 7
    folder = kill_resume.finish(tmp_path, opt)
    assert len(list(folder.glob('train_*.log'))) == 2
    history = read_run(folder)
    assert sorted(history.entries) == [3, 6]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    exact = EventAccumulator(str(tmp_path / 'tb_logger' / opt['name']), {'scalars': 0})
    exact.Reload()
    known = {scalar.step: scalar.value for scalar in exact.Scalars('metrics/val/psnr')}  # later ones count
    assert set(known) >= {2, 4, 6, 7}
    assert history.metrics['val', 'psnr'] == pytest.approx({i: known[i] for i in (2, 4, 6, 7)}, abs=1e-4)


# --------------------------------------------------------------------- drawing
def armed(shift: float = 0) -> dict:
    figures = {'right_psnr': 25 + shift, 'none_psnr': 23 + shift, 'wrong_psnr': 22 + shift}
    return {i: {'val': {name: value + i / 4 for name, value in figures.items()}} for i in (4, 8, 12)}


def test_arms_come_from_metrics_or_from_data_sets(tmp_path: Path) -> None:
    write_log(tmp_path / 'ours', range(1, 13), armed())
    sets = {4: {name: {'psnr': 20.0} for name in ('val', 'val_none', 'val_wrong')}}
    write_log(tmp_path / 'mixin', range(1, 13), sets)
    write_log(tmp_path / 'stock', range(1, 13), scores(4, name='my_none', metric='psnr'))
    for name, panel, arms in (
        ('ours', 'val: psnr', {'right', 'none', 'wrong'}),
        ('mixin', 'val: psnr', {'right', 'none', 'wrong'}),
        ('stock', 'my_none: psnr', {''}),
    ):
        found = plot.validations(read_run(tmp_path / name))
        assert set(found) == {panel} and set(found[panel]) == arms


def test_one_picture_of_several_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_log(tmp_path / 'first', range(1, 13), armed())
    write_log(tmp_path / 'second', range(1, 13), armed(2), factor=2)
    out = tmp_path / 'both.png'
    assert plot.main([str(tmp_path / 'first'), str(tmp_path / 'second'), '-o', str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    picture = cv2.imread(str(out))
    assert picture.shape[1] > 1200 and len({tuple(p) for p in picture.reshape(-1, 3)[::7].tolist()}) > 20

    figure = plot.draw({name: read_run(tmp_path / name) for name in ('first', 'second')})
    panels = {axis.get_title(): axis for axis in figure.axes}
    assert list(panels) == ['val: psnr', plot.TOTAL, 'l_pix', 'l_g_gan', 'l_d']
    drawn = {(line.get_color(), line.get_linestyle()): line.get_ydata()[0] for line in panels['val: psnr'].lines}
    assert drawn == {
        (colour, style): value + shift
        for colour, shift in (('C0', 0), ('C1', 2))
        for style, value in (('-', 26), (':', 24), ('--', 23))
    }
    assert panels['l_pix'].get_yscale() == 'log' and panels['l_g_gan'].get_yscale() == 'linear'
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        'first',
        'second',
        'right reference',
        'no reference',
        'wrong reference',
    ]
    chosen = plot.draw({'first': read_run(tmp_path / 'first')}, ['images_per_s'])
    assert [axis.get_title() for axis in chosen.axes] == ['val: psnr', 'images_per_s']


def test_names_of_runs_that_are_alike_are_paths() -> None:
    assert plot.labels([Path('a/run'), Path('b/other')]) == ['run', 'other']
    assert plot.labels([Path('a/run'), Path('b/run')]) == ['a/run', 'b/run']


def test_smoothing_keeps_the_ends_and_the_number() -> None:
    values = [math.sin(i) for i in range(400)]
    found = plot.smoothed(values)
    assert len(found) == 400 and found[0] == values[0] and found[-1] == values[-1]
    assert found[100] == pytest.approx(sum(values[95:106]) / 11)
    assert plot.smoothed([1.0, 2.0]) == [1.0, 2.0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere'], 'nowhere: no such folder'),
        (['empty'], 'empty: no train_*.log in it'),
        (['begun'], 'begun: its logs hold no iteration yet'),
        (
            ['run', '--terms', 'l_pixl'],
            '--terms l_pixl: not in these logs; they have images_per_s, l_d, l_',
        ),
        (['run', '-o', 'x.bmpp'], '-o x.bmpp: the ending says what to write'),
        (['run', '-o', 'no/x.png'], '-o no/x.png: cannot be written'),
    ],
)
def test_what_cannot_be_drawn_is_said(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('empty').mkdir()
    write_log(Path('begun'), range(1, 1))
    write_log(Path('run'), range(1, 13))
    assert plot.main(arguments) == 2
    err = capsys.readouterr().err
    assert f'error: {message}' in err and len(err.splitlines()) == 1
