"""From scores to tables: means and differences with their intervals, as csv and json, and as text for the terminal."""

import csv
import io
import itertools
import json
import math
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from refstar.metrics.bootstrap import LEVEL, Interval, bootstrap
from refstar.utils.text_files import write_text

from .scores import Scores
from .testset import TestSet

FEW = 20  # people or photos; below it the percentile bootstrap's intervals are too narrow
PACKAGES = ('refstar', 'torch', 'basicsr', 'lpips', 'facexlib', 'numpy', 'opencv-python', 'pillow')


@dataclass
class Tables:
    """Means and differences with their intervals.

    Attributes:
        means: method -> column -> interval.
        differences: (method, other method) -> column -> interval of the first minus the other, photo by photo.
        unit: what was drawn again: 'people' or 'photos'.
        resamples, seed: of the bootstrap.
    """

    means: dict[str, dict[str, Interval]]
    differences: dict[tuple[str, str], dict[str, Interval]]
    unit: str
    resamples: int
    seed: int

    @property
    def caution(self) -> str:
        """What to say where so few were drawn again that intervals are too narrow."""
        most = max(i.groups for row in self.means.values() for i in row.values())
        return f'Only {most} {self.unit}: the intervals are too narrow.' if most < FEW else ''


def make_tables(scores: Scores, testset: TestSet, resamples: int, seed: int) -> Tables:
    """All means and all differences from the same resamples; people are drawn where they are known."""
    methods = list(dict.fromkeys(str(row['method']) for row in scores.rows))
    place = {s.name: i for i, s in enumerate(testset.samples)}
    values = {m: np.full((len(place), len(scores.columns)), np.nan) for m in methods}
    for row in scores.rows:
        figures = [row.get(column, np.nan) for column in scores.columns]
        values[str(row['method'])][place[row['image']]] = figures
    pairs = list(itertools.combinations(methods, 2))
    blocks = [*values.values(), *(values[a] - values[b] for a, b in pairs)]
    intervals = iter(bootstrap(np.concatenate(blocks, 1), testset.people, resamples, seed))

    def row() -> dict[str, Interval]:
        return {column: next(intervals) for column in scores.columns}

    means = {method: row() for method in methods}
    differences = {pair: row() for pair in pairs}
    for method, value in scores.fid.items():
        n = scores.coverage(method)['n']
        means[method]['fid'] = Interval(value, math.nan, math.nan, n, 0)
    for a, b in pairs if scores.fid else ():
        differences[a, b]['fid'] = Interval(scores.fid[a] - scores.fid[b], math.nan, math.nan, 0, 0)
    return Tables(means, differences, 'people' if testset.people else 'photos', resamples, seed)


def never_measured(scores: Scores, testset: TestSet) -> dict[str, str]:
    """Columns without a single figure -> why."""
    why = {}
    if not any(s.refs for s in testset.samples):
        why |= dict.fromkeys(('id_ref_first', 'id_ref', 'copy_gap'), 'no references; give --refs or --mapping')
    if not any(s.wrong for s in testset.samples):
        why['id_wrong'] = "no stranger's references; give --wrong"
    empty = [c for c in scores.columns if not any(c in row for row in scores.rows)]
    return {c: why.get(c) or next(iter(scores.unmeasured.get(c, {}).values()), 'nothing to measure') for c in empty}


def summary(scores: Scores, tables: Tables, testset: TestSet, about: dict, absent: dict[str, str]) -> dict:
    """Content of `summary.json`.

    Args:
        scores, tables, testset: what was measured on what.
        about: measure -> what has to stand beside its figures.
        absent: columns -> why they were not measured at all.
    """
    return {
        'test_set': {
            'title': testset.title,
            'photos': len(testset.samples),
            'people': len(set(testset.people)) if testset.people else None,
            'degraded_photos': testset.lq_source,
            'notes': testset.notes,
            'missing': testset.missing,
            'failed': scores.failed_gt,
        },
        'coverage': {method: scores.coverage(method) for method in tables.means},
        'means': {method: _plain(row) for method, row in tables.means.items()},
        'differences': [{'of': a, 'minus': b, **_plain(row)} for (a, b), row in tables.differences.items()],
        'better': scores.columns | ({'fid': 'lower'} if scores.fid else {}),
        'measures': about,
        'not_measured': {column: f'not measured: {why}' for column, why in absent.items()},
        'not_measured_on': scores.unmeasured,
        'intervals': {
            'method': 'paired percentile bootstrap',
            'level': LEVEL,
            'drawn_again': tables.unit,
            'resamples': tables.resamples,
            'seed': tables.seed,
            'caution': tables.caution,
        },
        'versions': {'python': platform.python_version()} | {p: version(p) for p in PACKAGES},
    }


def write_tables(scores: Scores, tables: Tables, content: dict, out: Path) -> None:
    """Writes `images.csv`, `means.csv`, `differences.csv` and `summary.json` into a folder."""
    head = ['image', 'identity', 'method', 'status', *scores.columns, 'reason']
    _write_csv(out / 'images.csv', head, [[row.get(key, '') for key in head] for row in scores.rows])
    figures = ['mean', 'low', 'high', 'n', 'groups']
    means = [[m, c, *_cells(i)] for m, row in tables.means.items() for c, i in row.items()]
    _write_csv(out / 'means.csv', ['method', 'metric', *figures], means)
    rows = [[a, b, c, *_cells(i)] for (a, b), row in tables.differences.items() for c, i in row.items()]
    _write_csv(out / 'differences.csv', ['of', 'minus', 'metric', *figures], rows)
    write_text(out / 'summary.json', json.dumps(content, indent=2, ensure_ascii=False))


def figure(value: float) -> str:
    """For people: three decimals below ten, two above; a dash for what was not measured."""
    return '–' if not math.isfinite(value) else f'{value:.3f}' if abs(value) < 10 else f'{value:.2f}'


def terminal_text(tables: Tables, scores: Scores, testset: TestSet, absent: dict[str, str]) -> str:
    """The figures in a few lines."""
    columns = [c for c in next(iter(tables.means.values())) if any(r[c].n for r in tables.means.values())]
    wide = max(map(len, tables.means))
    lines = [f'{testset.title} ({testset.lq_source})', f'{"":<{wide}}' + ''.join(f'{c:>13}' for c in columns)]
    for method, row in tables.means.items():
        lines.append(f'{method:<{wide}}' + ''.join(f'{figure(row[c].mean):>13}' for c in columns))
    for method in tables.means:
        coverage = scores.coverage(method)
        counts = f'n {coverage["n"]}, missing {len(coverage["missing"])}, failed {len(coverage["failed"])}'
        names = [*coverage['missing'], *coverage['failed']]
        lines.append(
            f'{method}: {counts}' + (f': {", ".join(names[:5])}{" ..." if names[5:] else ""}' if names else '')
        )
    if testset.missing:
        lines.append(f'{len(testset.missing)} files of the list are missing: {", ".join(testset.missing[:3])} ...')
    lines += [f'{column}: not measured: {why}' for column, why in absent.items()]
    for column in columns:
        where = scores.unmeasured.get(column)
        if where:
            name, why = next(iter(where.items()))
            lines.append(f'{column}: not measured on {len(where)} restored photos: {name}: {why} ...')
    return '\n'.join(filter(None, [*lines, tables.caution, *testset.notes]))


def _plain(row: dict[str, Interval]) -> dict[str, dict]:
    """JSON has no NaN: what was not measured is null."""
    return {
        column: {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(interval).items()}
        for column, interval in row.items()
    }


def _cells(interval: Interval) -> list:
    return ['' if isinstance(v, float) and math.isnan(v) else v for v in asdict(interval).values()]


def _write_csv(path: Path, head: list[str], rows: list[list]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([head, *rows])
    write_text(path, text.getvalue())
