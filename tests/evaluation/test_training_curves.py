"""Losses and validations as a figure."""

import math

import pytest
from helpers.training_logs import arms, psnr, write_log

from refstar.evaluation.training_curves import TOTAL, draw, smooth, validations
from refstar.utils.training_log import read_run


@pytest.mark.parametrize(
    ('validated', 'panel', 'found'),
    [
        (arms(), 'val: psnr', {'right', 'none', 'wrong'}),
        (
            {4: {name: {'psnr': 20.0} for name in ('val', 'val_none', 'val_wrong')}},
            'val: psnr',
            {'right', 'none', 'wrong'},
        ),
        (psnr(4, name='my_none'), 'my_none: psnr', {''}),
    ],
)
def test_arms_come_from_metrics_or_data_sets(tmp_path, validated, panel, found):
    write_log(tmp_path / 'run', range(1, 13), validated)
    panels = validations(read_run(tmp_path / 'run'))
    assert {name: set(lines) for name, lines in panels.items()} == {panel: found}


def test_runs_share_panels_by_colour_and_arms_by_line_style(tmp_path):
    write_log(tmp_path / 'first', range(1, 13), arms())
    write_log(tmp_path / 'second', range(1, 13), arms(2), factor=2)
    figure = draw({name: read_run(tmp_path / name) for name in ('first', 'second')})
    panels = {axis.get_title(): axis for axis in figure.axes}
    assert list(panels) == ['val: psnr', TOTAL, 'l_pix', 'l_g_gan', 'l_d']
    drawn = {(line.get_color(), line.get_linestyle()): line.get_ydata()[0] for line in panels['val: psnr'].lines}
    assert drawn == {
        (colour, style): value + shift
        for colour, shift in (('C0', 0), ('C1', 2))
        for style, value in (('-', 26), (':', 24), ('--', 23))
    }
    assert panels['l_pix'].get_yscale() == 'log' and panels['l_g_gan'].get_yscale() == 'linear'
    legend = ['first', 'second', 'right reference', 'no reference', 'wrong reference']
    assert [text.get_text() for text in figure.legends[0].get_texts()] == legend


def test_chosen_terms_replace_the_losses(tmp_path):
    write_log(tmp_path / 'run', range(1, 13), arms())
    chosen = draw({'run': read_run(tmp_path / 'run')}, ['grad_norm'])
    assert [axis.get_title() for axis in chosen.axes] == ['val: psnr', 'grad_norm']


def test_smoothing_keeps_the_ends_and_the_number():
    values = [math.sin(i) for i in range(400)]
    found = smooth(values)
    assert len(found) == 400 and found[[0, -1]] == pytest.approx([values[0], values[-1]])
    assert found[100] == pytest.approx(sum(values[95:106]) / 11)
    assert smooth([1.0, 2.0]) == pytest.approx([1.0, 2.0])
