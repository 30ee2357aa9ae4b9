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

from refstar.utils.html_report import number
from refstar.utils.text_files import write_text

from .bootstrap import LEVEL, Interval, bootstrap
from .scores import Scores
from .testset import TestSet

FEW = 20  # people or photos; below it the percentile bootstrap's intervals are too narrow
PACKAGES = ('refstar', 'torch', 'basicsr', 'lpips', 'facexlib', 'numpy', 'opencv-python', 'pillow')


@dataclass
class Tables:
    """Means and differences with their intervals."""

    means: dict[str, dict[str, Interval]]  # method -> column
    differences: dict[tuple[str, str], dict[str, Interval]]  # the first method minus the other, photo by photo
    unit: str  # what was resampled: 'people' or 'photos'
    resamples: int
    seed: int

    @property
    def caution(self) -> str:
        """Warning where so few were resampled that the intervals are too narrow, else ''."""
        most = max(i.groups for row in self.means.values() for i in row.values())
        return f'Only {most} {self.unit}: the intervals are too narrow.' if most < FEW else ''


def make_tables(scores: Scores, testset: TestSet, resamples: int, seed: int) -> Tables:
    """Compute all means and differences from the same resamples; people are resampled where they are known."""
    methods = list(dict.fromkeys(str(row['method']) for row in scores.rows))
    place = {s.name: i for i, s in enumerate(testset.samples)}
    values = {m: np.full((len(place), len(scores.columns)), np.nan) for m in methods}
    for row in scores.rows:
        figures = [row.get(column, np.nan) for column in scores.columns]
        values[str(row['method'])][place[row['image']]] = figures
    pairs = list(itertools.combinations(methods, 2))
    blocks = [*values.values(), *(values[a] - values[b] for a, b in pairs)]
    intervals = iter(bootstrap(np.concatenate(blocks, 1), testset.people, resamples, seed))
    means = {method: {column: next(intervals) for column in scores.columns} for method in methods}
    differences = {pair: {column: next(intervals) for column in scores.columns} for pair in pairs}
    for method, value in scores.fid.items():
        means[method]['fid'] = Interval(value, math.nan, math.nan, scores.coverage(method)['n'], 0)
    for a, b in pairs if scores.fid else ():
        differences[a, b]['fid'] = Interval(scores.fid[a] - scores.fid[b], math.nan, math.nan, 0, 0)
    return Tables(means, differences, 'people' if testset.people else 'photos', resamples, seed)


def never_measured(scores: Scores, testset: TestSet) -> dict[str, str]:
    """Return columns without a single figure -> why."""
    why = {}
    if not any(s.refs for s in testset.samples):
        why |= dict.fromkeys(('id_ref_first', 'id_ref', 'copy_gap'), 'no references; give --refs or --mapping')
    if not any(s.wrong for s in testset.samples):
        why['id_wrong'] = 'no references of another person; give --wrong'
    empty = [c for c in scores.columns if not any(c in row for row in scores.rows)]
    return {c: why.get(c) or next(iter(scores.unmeasured.get(c, {}).values()), 'nothing to measure') for c in empty}


def summarise_scores(scores: Scores, tables: Tables, testset: TestSet, about: dict, absent: dict[str, str]) -> dict:
    """Return the content of `summary.json`; ``about`` and ``absent`` say what was measured how, and what was not."""
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


def write_tables(scores: Scores, tables: Tables, summary: dict, out: Path) -> None:
    """Write `images.csv`, `means.csv`, `differences.csv` and `summary.json` into a folder."""
    head = ['image', 'identity', 'method', 'status', *scores.columns, 'reason']
    write_csv(out / 'images.csv', head, [[row.get(key, '') for key in head] for row in scores.rows])
    figures = ['mean', 'low', 'high', 'n', 'groups']
    rows = [[m, c, *i.values()] for m, row in tables.means.items() for c, i in _plain(row).items()]
    write_csv(out / 'means.csv', ['method', 'metric', *figures], rows)
    rows = [[*pair, c, *i.values()] for pair, row in tables.differences.items() for c, i in _plain(row).items()]
    write_csv(out / 'differences.csv', ['of', 'minus', 'metric', *figures], rows)
    write_text(out / 'summary.json', json.dumps(summary, indent=2, ensure_ascii=False))


def write_csv(path: Path, head: list[str], rows: list[list]) -> None:
    """Write a csv; None becomes an empty cell."""
    text = io.StringIO()
    csv.writer(text).writerows([head, *rows])
    write_text(path, text.getvalue())


def terminal_text(tables: Tables, scores: Scores, testset: TestSet, absent: dict[str, str]) -> str:
    """Return the figures in a few lines."""
    columns = [c for c in next(iter(tables.means.values())) if any(r[c].n for r in tables.means.values())]
    wide = max(map(len, tables.means))
    lines = [f'{testset.title} ({testset.lq_source})', f'{"":<{wide}}' + ''.join(f'{c:>13}' for c in columns)]
    for method, row in tables.means.items():
        lines.append(f'{method:<{wide}}' + ''.join(f'{number(row[c].mean):>13}' for c in columns))
    for method in tables.means:
        coverage = scores.coverage(method)
        names = [*coverage['missing'], *coverage['failed']]
        named = f': {", ".join(names[:5])}{" ..." if names[5:] else ""}' if names else ''
        counts = f'n {coverage["n"]}, missing {len(coverage["missing"])}, failed {len(coverage["failed"])}'
        lines.append(f'{method}: {counts}{named}')
    if testset.missing:
        lines.append(f'{len(testset.missing)} files of the list are missing: {", ".join(testset.missing[:3])} ...')
    lines += [f'{column}: not measured: {why}' for column, why in absent.items()]
    for column in columns:
        for name, why in list(scores.unmeasured.get(column, {}).items())[:1]:
            lines.append(f'{column}: not measured on {len(scores.unmeasured[column])} photos: {name}: {why} ...')
    return '\n'.join(filter(None, [*lines, tables.caution, *testset.notes]))


def _plain(row: dict[str, Interval]) -> dict[str, dict]:
    """Return column -> fields of its interval; NaN, which JSON does not have, becomes None."""
    return {
        column: {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(interval).items()}
        for column, interval in row.items()
    }
