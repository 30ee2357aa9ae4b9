"""Scores every restored photo of every method; counts what is missing or fails, by name."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from refstar.data.collections.listing import images_in
from refstar.data.images import decode
from refstar.metrics.fid import FeatureNetwork, frechet_distance
from refstar.metrics.measures import Measure, Score, Truth
from refstar.utils.errors import RefStarError

from .testset import Sample, TestSet


@dataclass
class Scores:
    """Everything that was measured.

    Attributes:
        columns: column -> 'higher' or 'lower' is better, or ''.
        rows: one per photo and method: image, identity, method, status ('ok', 'missing', 'failed'), reason, and the
            columns that could be measured.
        unmeasured: column -> photo and method -> why it could not be measured there.
        failed_gt: photo -> why its ground truth, references or mask could not be read.
        fid: method -> Fréchet distance.
    """

    columns: dict[str, str]
    rows: list[dict[str, object]] = field(default_factory=list)
    unmeasured: dict[str, dict[str, str]] = field(default_factory=dict)
    failed_gt: dict[str, str] = field(default_factory=dict)
    fid: dict[str, float] = field(default_factory=dict)

    def coverage(self, method: str) -> dict[str, object]:
        """n, and the names of what is missing or failed, of one method."""
        rows = [row for row in self.rows if row['method'] == method]
        return {
            'n': sum(row['status'] == 'ok' for row in rows),
            'missing': [row['image'] for row in rows if row['status'] == 'missing'],
            'failed': {row['image']: row['reason'] for row in rows if row['status'] == 'failed'},
        }


def read_photo(path: Path, size: int | None = None) -> np.ndarray:
    """A photo as uint8 (H, W, 3) BGR, brought to ``size`` by Pillow's bicubic filter (as FFHQ-Ref is) if given.

    Raises:
        RefStarError: no readable image.
    """
    img = decode(path, 'RGB')
    if size and img.shape[:2] != (size, size):
        img = np.asarray(Image.fromarray(img).resize((size, size), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(img[..., ::-1])


def read_truth(sample: Sample, size: int | None) -> Truth:
    """Ground truth, references and mask of a sample.

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
    testset: TestSet,
    predictions: Mapping[str, Mapping[str, Path]],
    measures: Sequence[Measure],
    size: int | None = None,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Scores:
    """Measures everything.

    Args:
        testset: what is compared with.
        predictions: method -> name of the sample -> file.
        measures: what is measured.
        size: ground truth and references are brought to this side; restored photos never are.
        progress: called with how many photos are done.

    Returns:
        Scores: the figures; a photo that cannot be measured is in them with its reason.
    """
    scores = Scores({column: better for m in measures for column, better in m.columns.items()})
    for done, sample in enumerate(testset.samples):
        try:
            truth = read_truth(sample, size)
        except RefStarError as error:
            scores.failed_gt[sample.name] = str(error)
            truth = None
        against = _prepare(measures, truth, sample.name, scores) if truth else []
        for method, files in predictions.items():
            row = {'image': sample.name, 'identity': sample.identity or '', 'method': method, 'status': 'ok'}
            scores.rows.append(row)
            try:
                img = _restored(files.get(sample.name), truth, scores.failed_gt.get(sample.name))
            except RefStarError as error:
                row |= {'status': 'failed', 'reason': str(error)}
                continue
            if img is None:
                row['status'] = 'missing'
                continue
            row |= _measure(against, img, f'{sample.name}, {method}', scores)
        progress(done + 1, len(testset.samples))
    return scores


def add_fid(
    scores: Scores,
    testset: TestSet,
    predictions: Mapping[str, Mapping[str, Path]],
    features: FeatureNetwork,
    size: int | None = None,
    reference: Path | None = None,
) -> None:
    """Fréchet distance of every method's scored photos to the ground truth, or to the photos of a folder.

    Raises:
        RefStarError: there is neither, or fewer than two photos on a side.
    """
    if reference is not None:
        files = images_in(reference) if reference.is_dir() else []
    else:
        files = [s.gt for s in testset.samples if s.gt and s.name not in scores.failed_gt]
    if not files:
        raise RefStarError(f'FID: no photos to compare with in {reference or testset.title}; give --fid_ref')
    wanted = torch.stack([features(read_photo(path, size)) for path in files])
    for method, photos in predictions.items():
        names = [row['image'] for row in scores.rows if row['method'] == method and row['status'] == 'ok']
        found = [features(read_photo(photos[name])) for name in names]
        scores.fid[method] = frechet_distance(torch.stack(found), wanted) if len(found) > 1 else math.nan


def show_progress(done: int, count: int) -> None:
    """A line on a terminal."""
    if sys.stderr.isatty():
        print(f'\r{done} of {count} photos', end='' if done < count else '\n', file=sys.stderr, flush=True)


def shape(img: np.ndarray) -> str:
    """Width x height."""
    return f'{img.shape[1]}x{img.shape[0]}'


def _prepare(measures: Sequence[Measure], truth: Truth, name: str, scores: Scores) -> list[tuple[Measure, Score]]:
    """What belongs to the truth alone; a measure that cannot be taken on this photo is left out and noted."""
    ready = []
    for measure in measures:
        try:
            ready.append((measure, measure.against(truth)))
        except RefStarError as error:
            _note(scores, measure.columns, name, f'ground truth or references: {error}')
    return ready


def _restored(path: Path | None, truth: Truth | None, broken: str | None) -> np.ndarray | None:
    if path is None:
        return None
    if truth is None:
        raise RefStarError(broken)
    img = read_photo(path)
    if truth.gt is not None and img.shape != truth.gt.shape:
        raise RefStarError(f'{path}: is {shape(img)}, the ground truth {shape(truth.gt)}')
    return img


def _measure(against: Sequence[tuple[Measure, Score]], img: np.ndarray, where: str, scores: Scores) -> dict[str, float]:
    values = {}
    for measure, score in against:
        try:
            found = score(img)
        except RefStarError as error:
            _note(scores, measure.columns, where, str(error))
            continue
        for column, value in found.items():
            if isinstance(value, str) or not math.isfinite(value):
                _note(scores, [column], where, str(value))
            else:
                values[column] = value
    return values


def _note(scores: Scores, columns: Iterable[str], where: str, why: str) -> None:
    for column in columns:
        scores.unmeasured.setdefault(column, {})[where] = why
