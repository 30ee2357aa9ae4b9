"""Who is the same person, from embeddings of their photos; and which photos of a person show the most of them."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

BLOCK = 1024  # rows compared with all others at once


def same_person(embeddings: np.ndarray, distance: float) -> list[np.ndarray]:
    """Connected components of photos whose embeddings are near, as FFHQ-Ref found its people.

    Args:
        embeddings: unit vectors, (n, d) float32.
        distance: two photos of a cosine distance (1 - cosine) below this are of one person.

    Returns:
        The indices of each person's photos, ascending; people in the order of their first photos.
    """
    count = len(embeddings)
    label = np.arange(count)
    for start in range(0, count, BLOCK):
        cosine = embeddings[start : start + BLOCK] @ embeddings[start:].T
        first, second = np.nonzero(cosine > 1 - distance)
        links = label[first + start], label[second + start]
        graph = coo_matrix((np.ones(len(first), bool), links), shape=(count, count))
        label = connected_components(graph, directed=False)[1][label]
    order = np.argsort(label, kind='stable')
    people = np.split(order, np.nonzero(np.diff(label[order]))[0] + 1)
    return sorted((own for own in people if len(own)), key=lambda own: own[0])


def farthest_first(embeddings: np.ndarray, count: int) -> list[int]:
    """Farthest-point sampling: an order in which any first k photos show as much of the person as they can.

    The first photo is the one nearest to the mean of all; each further one is the farthest from those before it.

    Args:
        embeddings: unit vectors of one person's photos, (n, d).
        count: how many to draw, at most n.

    Returns:
        Indices of the drawn photos, in order.
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
