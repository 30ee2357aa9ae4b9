"""Divides people into train, val and test, and pairs photos of unknown people with their references."""

from collections.abc import Sequence

import numpy as np

from refstar.data.collections.reference_csv import Row
from refstar.data.people_clusters import farthest_first
from refstar.utils.errors import RefStarError

SPLITS = ('train', 'val', 'test')


def divide(people: Sequence[str], fractions: Sequence[float], seed: int) -> dict[str, list[str]]:
    """Divides people at random; the same people, fractions and seed give the same splits.

    Args:
        people: names; their order does not matter.
        fractions: of SPLITS, at least 0, together 1. A split with a fraction above 0 gets at least one person.
        seed: of the draw.

    Returns:
        Split -> names, sorted.

    Raises:
        RefStarError: the fractions are wrong, or there are fewer people than splits.
    """
    if len(fractions) != len(SPLITS) or not all(0 <= f <= 1 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise RefStarError(f'fractions must be {len(SPLITS)} numbers of at least 0 with the sum 1, got {fractions}')
    if len(people) < sum(f > 0 for f in fractions):
        raise RefStarError(f'{len(people)} people cannot be divided into {sum(f > 0 for f in fractions)} splits')
    wanted = np.array(fractions) * len(people)
    counts = np.maximum(wanted.astype(int), np.array(fractions) > 0)
    while counts.sum() < len(people):  # one more to the split that lacks most
        counts[np.argmax(wanted - counts)] += 1
    while counts.sum() > len(people):  # one less for the split that has most too many, but none is emptied
        counts[np.argmax(np.where(counts > 1, counts - wanted, -np.inf))] -= 1
    drawn = [sorted(people)[i] for i in np.random.default_rng(seed).permutation(len(people))]
    ends = counts.cumsum()
    return {name: sorted(drawn[end - n : end]) for name, n, end in zip(SPLITS, counts, ends, strict=True)}


def reference_rows(
    photos: Sequence[str], embeddings: np.ndarray, max_refs: int, min_refs: int = 1, min_distance: float = 0
) -> list[Row]:
    """One person's photos, each with the others as references, ordered by farthest-point sampling.

    Args:
        photos: file names, n.
        embeddings: their unit vectors, (n, d).
        max_refs: no more references than this.
        min_refs: a photo with fewer gets no row.
        min_distance: a reference of a cosine distance below this to the photo is left out: it shows nothing else.
    """
    rows = []
    for i, name in enumerate(photos):
        far = np.nonzero(1 - embeddings @ embeddings[i] >= min_distance)[0]
        others = far[far != i]
        refs = [photos[others[k]] for k in farthest_first(embeddings[others], max_refs)]
        if len(refs) >= max(min_refs, 1):
            rows.append(Row('', name, name, tuple(refs)))
    return rows
