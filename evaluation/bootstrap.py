"""Confidence intervals by the paired bootstrap: people are resampled, not photos.

Two arms or methods are compared on the same photos. The difference is taken per photo, so its interval is narrower than
those of the two means. Photos of one person are not independent: where people are known, a person is drawn with all of
their photos.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95  # confidence
BATCH = 500  # resamples at a time, to bound the memory


class Interval(NamedTuple):
    """A mean and its confidence interval; NaN where nothing was measured, or fewer than two people."""

    mean: float
    low: float
    high: float
    n: int  # photos that were measured
    groups: int  # people (or, where they are unknown, photos) that they show


def bootstrap(
    values: np.ndarray, groups: Sequence[str] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> list[Interval]:
    """Compute percentile intervals of the mean of each column, all from the same resamples.

    Args:
        values: shape (photos, columns); NaN is "not measured". A column may be a difference of two methods.
        groups: the person on each photo; None: every photo is one of its own.
        resamples, seed: of the draws.
    """
    values = np.asarray(values, np.float64)
    names, member = np.unique(np.arange(len(values)) if groups is None else np.asarray(groups), return_inverse=True)
    known = np.isfinite(values)
    sums, counts = (np.zeros((len(names), values.shape[1])) for _ in range(2))
    np.add.at(sums, member, np.where(known, values, 0))
    np.add.at(counts, member, known)

    rng = np.random.default_rng(seed)
    means = np.full((resamples, values.shape[1]), np.nan)
    for start in range(0, resamples, BATCH):
        stop = min(start + BATCH, resamples)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), stop - start).astype(np.float64)
        total = drawn @ counts
        np.divide(drawn @ sums, total, out=means[start:stop], where=total > 0)

    result = []
    for column in range(values.shape[1]):
        n, people = int(counts[:, column].sum()), int((counts[:, column] > 0).sum())
        low = high = np.nan
        if people > 1:
            low, high = np.nanquantile(means[:, column], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        mean = sums[:, column].sum() / n if n else np.nan
        result.append(Interval(float(mean), float(low), float(high), n, people))
    return result
