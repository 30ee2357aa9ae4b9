"""`report.html` of `refstar evaluate`: tables with intervals, and a grid of pictures that sorts by any figure."""

from pathlib import Path
from typing import Any

import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.html_report import data_uri, encode_preview, write_report

from .score_tables import measured_columns
from .scores import Predictions, Scores
from .testset import Sample, TestSet, read_photo

THUMBNAIL = 112  # pixels
LARGEST = 512  # pixels of a large picture
EMBEDDED = 40_000_000  # bytes of large pictures in the page; above it they lie beside it
TITLES = {'detail': 'detail', 'id_gt': 'ID-GT', 'id_ref': 'ID-Ref mean', 'copy_gap': 'copy gap'}
TITLES |= {'id_ref_first': 'ID-Ref first', 'id_wrong': 'ID-wrong'}
ARROWS = {'higher': ' ↑', 'lower': ' ↓', '': ''}


def write_evaluation_report(
    scores: Scores, testset: TestSet, predictions: Predictions, summary: dict[str, Any], out: Path, size: int | None
) -> Path:
    """Write `report.html`, and the large pictures into `pictures/` beside it where they are many.

    ``summary`` is the content of `summary.json`, ``size`` the side to which ground truth and references were brought.
    """
    better = summary['better']
    columns = measured_columns(summary)
    listings = {
        'Files of the list that are missing': testset.missing,
        'Ground truth or references that cannot be read': list(scores.failed_gt.values()),
    }
    for column, where in scores.unmeasured.items():
        listings[f'{title(column)}: not measured on some photos'] = [f'{k}: {v}' for k, v in where.items()]
    content = {
        'title': testset.title,
        'testset': testset,
        'summary': summary,
        'columns': [{'key': c, 'title': title(c) + ARROWS[better[c]], 'better': better[c]} for c in columns],
        'best': {c: best_mean([row[c]['mean'] for row in summary['means'].values()], better[c]) for c in columns},
        'verdict': verdict,
        'listings': listings,
        'photos': photos(scores, testset, predictions, out, size),
    }
    write_report(out / 'report.html', 'evaluation.html', **content)
    return out / 'report.html'


def title(column: str) -> str:
    """Return the head of a column."""
    return TITLES.get(column, column.upper())


def best_mean(means: list[float | None], better: str) -> float | None:
    """Return the best mean of a column, or None where there is nothing to compare."""
    known = [mean for mean in means if mean is not None]
    best = {'higher': max, 'lower': min}.get(better)
    return best(known) if best and len(known) > 1 else None


def verdict(interval: dict[str, Any], better: str) -> str:
    """Return 'good' or 'bad' for a difference whose interval excludes zero, else 'open'."""
    low, high = interval['low'], interval['high']
    if not better or low is None or low <= 0 <= high:
        return 'open'
    return 'good' if (low > 0) == (better == 'higher') else 'bad'


def photos(
    scores: Scores, testset: TestSet, predictions: Predictions, out: Path, size: int | None
) -> list[dict[str, Any]]:
    """Return the cards of the grid: per photo its panels (thumbnail and large picture) and figures."""
    figures: dict[str, dict[str, dict]] = {}
    for row in scores.rows:
        known = {c: round(row[c], 5) for c in scores.columns if c in row}
        figures.setdefault(str(row['image']), {})[str(row['method'])] = known
    cards, embedded = [], None
    for i, sample in enumerate(testset.samples):
        panels = []
        for j, (label, img) in enumerate(panels_of(sample, predictions, size)):
            large, beside = encode_preview(img, max_side=LARGEST), f'pictures/{i}_{j}.jpg'
            if embedded is None:  # judged by the first picture
                embedded = len(large) * len(testset.samples) * (len(predictions) + 3) < EMBEDDED
            if not embedded:
                (out / 'pictures').mkdir(exist_ok=True)
                (out / beside).write_bytes(large)
            thumbnail = data_uri(img, max_side=THUMBNAIL)
            panels.append({'label': label, 'thumbnail': thumbnail, 'large': data_uri(large) if embedded else beside})
        found = figures.get(sample.name, {})
        cards.append({'name': sample.name, 'person': sample.identity, 'panels': panels, 'figures': found})
    return cards


def panels_of(sample: Sample, predictions: Predictions, size: int | None) -> list[tuple[str, np.ndarray]]:
    """Return LQ, first reference, every method and ground truth; what cannot be read is left out."""
    files = {'LQ': sample.lq, 'reference': next(iter(sample.refs), None)}
    files |= {method: found.get(sample.name) for method, found in predictions.items()} | {'GT': sample.gt}
    panels = []
    for label, path in files.items():
        try:
            if path is not None:
                panels.append((label, read_photo(path, None if label in predictions else size)))
        except RefStarError:  # counted and named in the scores
            continue
    return panels
