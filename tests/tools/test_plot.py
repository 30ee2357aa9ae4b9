"""`refstar plot`: its picture and its refusals."""

from pathlib import Path

import cv2
import pytest
from helpers.training_logs import arms, write_log

from refstar.tools import plot


def test_two_runs_become_one_picture(tmp_path, capsys):
    for name in ('first', 'second'):
        write_log(tmp_path / name, range(1, 13), arms())
    out = tmp_path / 'both.png'
    assert plot.main([str(tmp_path / 'first'), str(tmp_path / 'second'), '-o', str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    picture = cv2.imread(str(out))
    assert picture.shape[1] > 1200 and len({tuple(p) for p in picture.reshape(-1, 3)[::7].tolist()}) > 20


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere'], 'nowhere: no such folder'),
        (['empty'], 'empty: no train_*.log in it'),
        (['begun'], 'begun: its logs hold no iteration yet'),
        (['run', '--terms', 'l_pixl'], '--terms l_pixl: not in these logs; they have grad_norm, l_d, l_'),
        (['run', '-o', 'x.bmpp'], '-o x.bmpp: the ending says what to write'),
        (['run', '-o', 'no/x.png'], '-o no/x.png: cannot be written'),
    ],
)
def test_wrong_input_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('empty').mkdir()
    write_log(Path('begun'), range(1, 1))
    write_log(Path('run'), range(1, 13))
    assert plot.main(arguments) == 2
    err = capsys.readouterr().err
    assert f'error: {message}' in err and len(err.splitlines()) == 1
