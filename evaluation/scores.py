"""Scoring of every restored photo of every method; what is missing or fails is counted by name."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from refstar.data.images import decode
from refstar.utils.errors import RefStarError

from .measures import Measure, Score, Truth
from .testset import Sample, TestSet, read_photo, shape

Predictions = Mapping[str, Mapping[str, Path]]  # method -> name of the photo -> file


@dataclass
class Scores:
    """All figures.

    A row is a photo of a method: image, identity, method, status ('ok', 'missing', 'failed'), reason, and the columns
    that could be measured.
    """

    columns: dict[str, str]  # column -> 'higher' or 'lower' is better, or ''
    rows: list[dict[str, object]] = field(default_factory=list)
    unmeasured: dict[str, dict[str, str]] = field(default_factory=dict)  # column -> photo and method -> why
    failed_gt: dict[str, str] = field(default_factory=dict)  # photo -> why its truth could not be read

    def coverage(self, method: str) -> dict[str, object]:
        """Return n, and the names of what is missing or failed, of one method."""
        rows = [row for row in self.rows if row['method'] == method]
        return {
            'n': sum(row['status'] == 'ok' for row in rows),
            'missing': [row['image'] for row in rows if row['status'] == 'missing'],
            'failed': {row['image']: row['reason'] for row in rows if row['status'] == 'failed'},
        }

    def leave_out(self, columns: Iterable[str], where: str, why: object) -> None:
        """Note that columns could not be measured on a photo."""
        for column in columns:
            self.unmeasured.setdefault(column, {})[where] = str(why)


def read_truth(sample: Sample, size: int | None) -> Truth:
    """Read ground truth, references and mask of a sample.

    Raises:
        RefStarError: one of them cannot be read, or the mask has another size.
    """
    gt = read_photo(sample.gt, size) if sample.gt else None
    region = None
    if sample.region:
        region = decode(sample.region, 'L') / 255
        if gt is not None and region.shape != gt.shape[:2]:
            raise RefStarError(f'{sample.region}: is {shape(region)}, the ground truth {shape(gt)}')
    refs, wrong = ([read_photo(path, size) for path in files] for files in (sample.refs, sample.wrong))
    return Truth(gt, refs, wrong, region)


def score_all(
    testset: TestSet, predictions: Predictions, measures: Sequence[Measure], size: int | None = None
) -> Scores:
    """Measure all photos; a photo that cannot be measured is in the result with its reason.

    Ground truth and references are brought to ``size``; restored photos never are.
    """
    scores = Scores({column: better for m in measures for column, better in m.columns.items()})
    for sample in tqdm(testset.samples, 'scoring', unit='photo', disable=None):
        against, broken, truth = [], None, None
        try:
            truth = read_truth(sample, size)
        except RefStarError as error:
            broken = scores.failed_gt[sample.name] = str(error)
        for measure in measures if truth else ():
            try:
                against.append((measure, measure.against(truth)))
            except RefStarError as error:
                scores.leave_out(measure.columns, sample.name, f'ground truth or references: {error}')
        for method, files in predictions.items():
            row = {'image': sample.name, 'identity': sample.identity or '', 'method': method, 'status': 'ok'}
            scores.rows.append(row)
            if sample.name not in files:
                row['status'] = 'missing'
                continue
            try:
                if broken:
                    raise RefStarError(broken)
                img = read_photo(files[sample.name])
                if truth.gt is not None and img.shape != truth.gt.shape:
                    raise RefStarError(f'{files[sample.name]}: is {shape(img)}, the ground truth {shape(truth.gt)}')
            except RefStarError as error:
                row |= {'status': 'failed', 'reason': str(error)}
                continue
            row |= _measure(against, img, f'{sample.name}, {method}', scores)
    return scores


def _measure(against: Sequence[tuple[Measure, Score]], img: np.ndarray, where: str, scores: Scores) -> dict[str, float]:
    values = {}
    for measure, score in against:
        try:
            found = score(img)
        except RefStarError as error:
            found = dict.fromkeys(measure.columns, str(error))
        for column, value in found.items():
            if isinstance(value, str) or not math.isfinite(value):
                scores.leave_out([column], where, value)
            else:
                values[column] = value
    return values
