"""Group photos into people by their embeddings, and choose the photos that show the most of a person."""

import numpy as np

BLOCK = 1024  # rows compared with all others at once


def components(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the connected component of each of `count` nodes, (count,) int, given the two ends of every link."""
    from scipy.sparse import coo_matrix  # its import takes a quarter of a second, which one photo does not need
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def same_person(embeddings: np.ndarray, distance: float) -> list[np.ndarray]:
    """Return connected components of photos whose embeddings are near, as FFHQ-Ref found its people.

    Two photos of a cosine distance (1 - cosine of their unit vectors, (n, d) float32) below `distance` are of one
    person. Returns the indices of each person's photos, ascending; people in the order of their first photos.
    """
    count = len(embeddings)
    label = np.arange(count)
    for start in range(0, count, BLOCK):
        cosine = embeddings[start : start + BLOCK] @ embeddings[start:].T
        first, second = np.nonzero(cosine > 1 - distance)
        if (first != second).any():
            label = components(count, label[first + start], label[second + start])[label]
    order = np.argsort(label, kind='stable')
    people = np.split(order, np.nonzero(np.diff(label[order]))[0] + 1)
    return sorted((own for own in people if len(own)), key=lambda own: own[0])


def farthest_first(embeddings: np.ndarray, count: int) -> list[int]:
    """Return the indices of at most `count` photos of one person by farthest-point sampling, in the order drawn.

    Any first k of them show as much of the person as k photos can. The first photo is the one nearest to the mean of
    all; each further one is the farthest from those before it. Embeddings are unit vectors, (n, d).
    """
    if not len(embeddings):
        return []
    order = [int(np.argmax(embeddings @ embeddings.sum(0)))]
    nearest = 1 - embeddings @ embeddings[order[0]]  # cosine distance to the drawn ones
    while len(order) < min(count, len(embeddings)):
        nearest[order[-1]] = -np.inf
        order.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, 1 - embeddings @ embeddings[order[-1]])
    return order
