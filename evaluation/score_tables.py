"""From scores to tables: means and differences with their intervals, as csv and json, and as text for the terminal."""

import itertools
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from refstar.utils.html_report import number
from refstar.utils.text_files import write_csv, write_text

from .bootstrap import LEVEL, Interval, bootstrap
from .scores import Scores
from .testset import TestSet

FEW = 20  # people or photos; below it the percentile bootstrap's intervals are too narrow
PACKAGES = ('refstar', 'torch', 'basicsr', 'lpips', 'facexlib', 'numpy', 'opencv-python', 'pillow')


def summarise_scores(
    scores: Scores, testset: TestSet, resamples: int, seed: int, about: dict, absent: dict[str, str]
) -> dict[str, Any]:
    """Return the content of `summary.json`: means and differences with their intervals, and what belongs to them.

    All intervals are of the same resamples; people are resampled where they are known, else photos.

    Args:
        scores, testset: what was measured.
        resamples, seed: of the bootstrap.
        about: columns -> how they were measured.
        absent: columns -> why they were not.
    """
    columns, place = scores.columns, {s.name: i for i, s in enumerate(testset.samples)}
    values = {str(row['method']): np.full((len(place), len(columns)), np.nan) for row in scores.rows}
    for row in scores.rows:
        values[str(row['method'])][place[row['image']]] = [row.get(column, np.nan) for column in columns]
    pairs = list(itertools.combinations(values, 2))
    blocks = np.concatenate([*values.values(), *(values[a] - values[b] for a, b in pairs)], 1)
    intervals = map(_plain, bootstrap(blocks, testset.people, resamples, seed))
    means = {method: dict(zip(columns, intervals, strict=False)) for method in values}
    differences = [{'of': a, 'minus': b, **dict(zip(columns, intervals, strict=False))} for a, b in pairs]
    unit = 'people' if testset.people else 'photos'
    most = max(i['groups'] for row in means.values() for i in row.values())
    absent = absent | never_measured(scores, testset)
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
        'coverage': {method: scores.coverage(method) for method in means},
        'means': means,
        'differences': differences,
        'better': columns,
        'measures': about,
        'not_measured': {column: f'not measured: {why}' for column, why in absent.items()},
        'not_measured_on': scores.unmeasured,
        'intervals': {
            'method': 'paired percentile bootstrap',
            'level': LEVEL,
            'drawn_again': unit,
            'resamples': resamples,
            'seed': seed,
            'caution': f'Only {most} {unit}: the intervals are too narrow.' if most < FEW else '',
        },
        'versions': {'python': platform.python_version()} | {p: version(p) for p in PACKAGES},
    }


def never_measured(scores: Scores, testset: TestSet) -> dict[str, str]:
    """Return columns without a single figure -> why."""
    why = {}
    if not any(s.refs for s in testset.samples):
        why |= dict.fromkeys(('id_ref_first', 'id_ref', 'copy_gap'), 'no references; give --refs or --mapping')
    if not any(s.wrong for s in testset.samples):
        why['id_wrong'] = 'no references of another person; give --wrong'
    empty = [c for c in scores.columns if not any(c in row for row in scores.rows)]
    return {c: why.get(c) or next(iter(scores.unmeasured.get(c, {}).values()), 'nothing to measure') for c in empty}


def write_tables(scores: Scores, summary: dict[str, Any], out: Path) -> None:
    """Write `images.csv`, `means.csv`, `differences.csv` and `summary.json` into a folder."""
    figures = ['metric', *Interval._fields]
    write_csv(out / 'images.csv', scores.rows, ['image', 'identity', 'method', 'status', *scores.columns, 'reason'])
    rows = [{'method': m, 'metric': c, **i} for m, row in summary['means'].items() for c, i in row.items()]
    write_csv(out / 'means.csv', rows, ['method', *figures])
    rows = [row | {'metric': c} | row[c] for row in summary['differences'] for c in row if c not in ('of', 'minus')]
    write_csv(out / 'differences.csv', rows, ['of', 'minus', *figures])
    write_text(out / 'summary.json', json.dumps(summary, indent=2, ensure_ascii=False))


def measured_columns(summary: dict[str, Any]) -> list[str]:
    """Return the columns with a figure of any method."""
    return [c for c in summary['better'] if any(row[c]['n'] for row in summary['means'].values())]


def terminal_text(summary: dict[str, Any]) -> str:
    """Return the figures in a few lines."""
    columns, testset = measured_columns(summary), summary['test_set']
    wide, missing = max(map(len, summary['means'])), testset['missing']
    lines = [f'{testset["title"]} ({testset["degraded_photos"]})', ' ' * wide + ''.join(f'{c:>13}' for c in columns)]
    for method, row in summary['means'].items():
        lines.append(f'{method:<{wide}}' + ''.join(f'{number(row[c]["mean"]):>13}' for c in columns))
    for method, found in summary['coverage'].items():
        names = [*found['missing'], *found['failed']]
        named = f': {", ".join(names[:5])}{" ..." if names[5:] else ""}' if names else ''
        counts = f'n {found["n"]}, missing {len(found["missing"])}, failed {len(found["failed"])}'
        lines.append(f'{method}: {counts}{named}')
    if missing:
        lines.append(f'{len(missing)} files of the list are missing: {", ".join(missing[:3])} ...')
    lines += [f'{column}: {why}' for column, why in summary['not_measured'].items()]
    for column, photos in summary['not_measured_on'].items():
        if column in columns:
            lines.append(f'{column}: not measured on {len(photos)} photos: {": ".join(next(iter(photos.items())))} ...')
    return '\n'.join(filter(None, [*lines, summary['intervals']['caution'], *testset['notes']]))


def _plain(interval: Interval) -> dict[str, float | None]:
    """Return the fields of an interval; NaN, which JSON does not have, becomes None."""
    return {key: None if math.isnan(value) else value for key, value in interval._asdict().items()}
