"""`report.html` of `refstar evaluate`: tables with intervals, and a grid of pictures that sorts by any figure."""

import base64
import html
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refstar.metrics.bootstrap import Interval
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import write_text

from .demo_report import table
from .report_page import CSS, SCRIPT
from .score_tables import Tables, figure
from .scores import Scores, read_photo
from .testset import Sample, TestSet

THUMBNAIL = 112  # pixels
LARGEST = 512  # pixels of a large picture
EMBEDDED = 40_000_000  # bytes of large pictures in the page; above it they lie beside it
TITLES = {
    'psnr': 'PSNR',
    'ssim': 'SSIM',
    'detail': 'detail',
    'lpips': 'LPIPS',
    'flpips': 'fLPIPS',
    'id_gt': 'ID-GT',
    'id_ref_first': 'ID-Ref first',
    'id_ref': 'ID-Ref mean',
    'copy_gap': 'copy gap',
    'id_wrong': 'ID-wrong',
    'lmd': 'LMD',
    'niqe': 'NIQE',
    'fid': 'FID',
}
ARROWS = {'higher': ' ↑', 'lower': ' ↓', '': ''}


def write_report(
    scores: Scores,
    tables: Tables,
    testset: TestSet,
    predictions: Mapping[str, Mapping[str, Path]],
    content: dict[str, Any],
    out: Path,
    size: int | None = None,
) -> Path:
    """Writes `report.html`, and the large pictures into `pictures/` beside it where they are many.

    Args:
        scores, tables, testset, predictions: what was measured.
        content: of `summary.json`.
        out: folder.
        size: side to which ground truth and references were brought.

    Returns:
        The page.
    """
    better = content['better']
    columns = [c for c in better if any(c in row and row[c].n for row in tables.means.values())]
    heads = [TITLES.get(c, c) + ARROWS[better[c]] for c in columns]
    body = [
        f'<h1>{html.escape(testset.title)}</h1>',
        f'<p>{len(testset.samples)} photos{people(testset)}. Degraded photos: {html.escape(testset.lq_source)}.</p>',
        *(f'<p class="note">{html.escape(note)}</p>' for note in testset.notes),
        '<h2>Means</h2>',
        f'<p class="small">{interval_note(tables)} The best mean of a column is bold.</p>',
        table(['', *heads], means_rows(tables, columns, better)),
        *differences_section(tables, columns, heads, better),
        '<h2>Coverage</h2>',
        table(['', 'scored', 'missing', 'failed'], coverage_rows(scores, tables)),
        listed('Files of the list that are missing', testset.missing),
        listed('Ground truth or references that cannot be read', scores.failed_gt.values()),
        *(
            listed(f'{TITLES.get(c, c)}: not measured on some photos', [f'{k}: {v}' for k, v in where.items()])
            for c, where in scores.unmeasured.items()
        ),
        '<h2>Pictures</h2>',
        '<div id="controls"></div><div id="grid"></div>',
        '<h2>How it was measured</h2>',
        table(['', ''], measured_rows(content)),
        table(['', ''], [[name, html.escape(v)] for name, v in content['versions'].items()]),
    ]
    data = {
        'columns': [{'key': c, 'title': h, 'better': better[c]} for c, h in zip(columns, heads, strict=True)],
        'methods': list(tables.means),
        'photos': pictures(scores, testset, predictions, out, size),
    }
    page = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>{html.escape(testset.title)}</title><style>{CSS}</style>',
        *body,
        '<dialog id="large"></dialog>',
        f'<script type="application/json" id="data">{json.dumps(data).replace("<", chr(92) + "u003c")}</script>',
        f'<script>{SCRIPT}</script></html>',
    ]
    path = out / 'report.html'
    write_text(path, '\n'.join(page))
    return path


def people(testset: TestSet) -> str:
    return f' of {len(set(testset.people))} people' if testset.people else ''


def interval_note(tables: Tables) -> str:
    return (
        f'In brackets: 95 % confidence interval, paired bootstrap, {tables.unit} drawn again {tables.resamples} times '
        f'(seed {tables.seed}). FID has none. {tables.caution}'
    )


def cell(interval: Interval) -> str:
    """Mean and interval."""
    if not math.isfinite(interval.mean):
        return '–'
    inside = ''
    if math.isfinite(interval.low):
        inside = f'<span class="ci">[{figure(interval.low)}, {figure(interval.high)}]</span>'
    return f'{figure(interval.mean)} {inside}'


def means_rows(tables: Tables, columns: list[str], better: Mapping[str, str]) -> list[list[str]]:
    rows = []
    for method, row in tables.means.items():
        cells = []
        for c in columns:
            others = [r[c].mean for r in tables.means.values() if math.isfinite(r[c].mean)]
            best = {'higher': max, 'lower': min}.get(better[c])
            bold = best and len(others) > 1 and row[c].mean == best(others)
            cells.append(f'<b>{cell(row[c])}</b>' if bold else cell(row[c]))
        rows.append([html.escape(method), *cells])
    return rows


def differences_section(tables: Tables, columns: list[str], heads: list[str], better: Mapping[str, str]) -> list[str]:
    if not tables.differences:
        return []
    rows = []
    for (a, b), row in tables.differences.items():
        cells = [f'<span class="{verdict(row[c], better[c])}">{cell(row[c])}</span>' for c in columns]
        rows.append([f'{html.escape(a)} − {html.escape(b)}', *cells])
    return [
        '<h2>Differences</h2>',
        '<p class="small">Photo by photo. Green: the first one is better, red: the second; grey: the interval '
        'holds zero, or neither way is better.</p>',
        table(['', *heads], rows),
    ]


def verdict(interval: Interval, better: str) -> str:
    """'yes', 'no' or 'open'."""
    if not better or not interval.excludes_zero:
        return 'open'
    return 'yes' if (interval.mean > 0) == (better == 'higher') else 'no'


def coverage_rows(scores: Scores, tables: Tables) -> list[list[str]]:
    rows = []
    for method in tables.means:
        coverage = scores.coverage(method)
        failed = [f'{name}: {reason}' for name, reason in coverage['failed'].items()]
        names = [names_cell(coverage['missing']), names_cell(failed)]
        rows.append([html.escape(method), str(coverage['n']), *names])
    return rows


def names_cell(names: list[str]) -> str:
    if not names:
        return '0'
    items = '<br>'.join(map(html.escape, names))
    return f'<details><summary>{len(names)}</summary>{items}</details>'


def listed(what: str, items: Any) -> str:
    items = list(items)
    if not items:
        return ''
    lines = '<br>'.join(map(html.escape, items))
    return f'<details class="small"><summary>{html.escape(what)} ({len(items)})</summary>{lines}</details>'


def measured_rows(content: dict[str, Any]) -> list[list[str]]:
    def words(about: dict[str, Any]) -> str:
        return '<br>'.join(f'{html.escape(k)}: {html.escape(str(v))}' for k, v in about.items() if v not in ('', None))

    rows = [[html.escape(name), words(about)] for name, about in content['measures'].items()]
    return rows + [[html.escape(name), html.escape(why)] for name, why in content['not_measured'].items()]


def pictures(
    scores: Scores,
    testset: TestSet,
    predictions: Mapping[str, Mapping[str, Path]],
    out: Path,
    size: int | None,
) -> list[dict[str, Any]]:
    """What the grid shows: per photo its panels (thumbnail and large picture) and figures."""
    figures: dict[str, dict[str, dict]] = {}
    for row in scores.rows:
        known = {c: round(row[c], 5) for c in scores.columns if c in row}
        figures.setdefault(str(row['image']), {})[str(row['method'])] = known
    photos, embedded, folder = [], None, out / 'pictures'
    for i, sample in enumerate(testset.samples):
        panels = []
        for j, (label, img) in enumerate(panels_of(sample, predictions, size)):
            large = jpeg(img, LARGEST)
            if embedded is None:  # judged by the first picture
                embedded = len(large) * len(testset.samples) * (len(predictions) + 3) < EMBEDDED
            if not embedded:
                folder.mkdir(exist_ok=True)
                (folder / f'{i}_{j}.jpg').write_bytes(large)
            panels.append(
                {
                    'label': label,
                    'thumb': uri(jpeg(img, THUMBNAIL)),
                    'large': uri(large) if embedded else f'pictures/{i}_{j}.jpg',
                }
            )
        figures_here = figures.get(sample.name, {})
        photos.append({'name': sample.name, 'person': sample.identity, 'panels': panels, 'figures': figures_here})
    return photos


def panels_of(sample: Sample, predictions: Mapping[str, Mapping[str, Path]], size: int | None) -> list[tuple]:
    """LQ, first reference, every method, ground truth; what cannot be read is left out."""
    files = [('LQ', sample.lq), ('reference', sample.refs[0] if sample.refs else None)]
    files += [(method, found.get(sample.name)) for method, found in predictions.items()]
    panels = []
    for label, path in [*files, ('GT', sample.gt)]:
        if path is None:
            continue
        try:
            panels.append((label, read_photo(path, None if label in predictions else size)))
        except RefStarError:  # counted and named in the scores
            continue
    return panels


def jpeg(img: np.ndarray, side: int) -> bytes:
    """A picture (uint8 BGR) of at most ``side`` pixels, as JPEG with full colour resolution."""
    scale = side / max(img.shape[:2])
    if scale < 1:
        img = cv2.resize(img, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    flags = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode('.jpg', img, flags)[1].tobytes()


def uri(picture: bytes) -> str:
    return f'data:image/jpeg;base64,{base64.b64encode(picture).decode()}'
