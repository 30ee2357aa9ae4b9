"""Which of many fingerprints are nearly the same, without comparing each with each."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

MAX_DISTANCE = 31  # bits; beyond that bands get so narrow that the search becomes quadratic


def near_duplicates(fingerprints: Sequence[bytes], distance: int) -> list[list[int]]:
    """Groups of fingerprints of which each differs from another of the group in at most `distance` bits.

    Two fingerprints that differ in d bits agree on at least one of d + 1 bands of their bits: only those that share a
    band are compared, so nothing is missed.

    Args:
        fingerprints: n of equal length.
        distance: 0 to MAX_DISTANCE.

    Returns:
        Groups of two or more indices, ascending, in the order of their first.
    """
    if len(fingerprints) < 2:
        return []
    rows = np.frombuffer(b''.join(fingerprints), np.uint8).reshape(len(fingerprints), -1)
    distinct, member = np.unique(rows, axis=0, return_inverse=True)
    links = [pairs for band in range(distance + 1) for pairs in _close(distinct, band, distance)]
    first, second = np.concatenate(links, axis=1) if links else np.empty((2, 0), int)
    graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(len(distinct),) * 2)
    label = connected_components(graph, directed=False)[1][member.reshape(-1)]
    groups: dict[int, list[int]] = {}
    for index, group in enumerate(label.tolist()):
        groups.setdefault(group, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def _close(rows: np.ndarray, band: int, distance: int):
    """Pairs of rows (2, m) that agree on a band and differ in at most `distance` bits in all, in several pieces."""
    bits = np.packbits(np.unpackbits(rows, axis=1)[:, band :: distance + 1], axis=1)
    key = np.unique(bits, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(key, kind='stable')
    start, step = np.arange(len(order) - 1), 1  # positions whose neighbour `step` further may share the key
    while len(start):
        start = start[key[order[start]] == key[order[start + step]]]
        first, second = order[start], order[start + step]
        differ = np.unpackbits(rows[first] ^ rows[second], axis=1).sum(1)
        near = differ <= distance
        yield np.stack([first[near], second[near]])
        step += 1
        start = start[start + step < len(order)]
