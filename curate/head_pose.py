"""The side of the head that another pose hides: the head as an ellipsoid, its turn from how the face moved.

Aligned photos keep eyes and mouth in place, so a turned head shows as its middle moving against its outline: points
near the camera, in proportion to their depth. That share of the movement is the turn; what it carries over the edge
of the ellipsoid cannot be seen in the other photo.
"""

import cv2
import numpy as np

from refstar.data.geometry import pixel_grid, unit_grid

HALF = 0.86, 1.15  # of the ellipsoid with hair, in the [-1, 1] of the photo
LEVEL = slice(0.42, 0.68)  # rows, as shares of the side, in which its middle is looked for
CENTRING = 2.0  # the outline found moves half as far as the head: what is behind it is taken for the person too
TURN = 2.2  # movement per depth and sine of the turn
GRAZING = 0.3  # cosine of the angle below which a surface is seen too flatly
STEP, ROUNDS, OUTLIER = 4, 3, 0.02


def hidden_side(shown: np.ndarray, positions: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """What of a head cannot be seen in another photo.

    Args:
        shown: probability that a pixel shows the person, (S, S).
        positions: where its pixels lie in the other photo, (S, S, 2).
        trust: how much each position is trusted, (S, S), 0 to 1.

    Returns:
        (S, S) bool.
    """
    size = len(shown)
    x, y = cv2.split(unit_grid(size))
    across = (x - CENTRING * _middle(shown)) / HALF[0]
    depth = np.sqrt(np.clip(1 - across**2 - (y / HALF[1]) ** 2, 0, None))
    face = (x / 0.42) ** 2 + ((y - 0.12) / 0.5) ** 2 < 1
    few = np.zeros_like(face)
    few[::STEP, ::STEP] = face[::STEP, ::STEP]
    moved = (positions[few] - pixel_grid(size)[few])[:, 0] * (2 / size)
    turn = np.clip(_share_of_depth(moved, x[few], y[few], depth[few], trust[few]) / TURN, -0.9, 0.9)
    return depth * np.sqrt(1 - turn**2) - across * turn < GRAZING


def _middle(shown: np.ndarray) -> float:
    """Middle of the person's outline at the height of eyes and nose, in [-1, 1]."""
    size = len(shown)
    columns = shown[int(LEVEL.start * size) : int(LEVEL.stop * size)].mean(0)
    return float(columns[size // 2 :].sum() - columns[: size // 2].sum()) / size


def _share_of_depth(moved: np.ndarray, x: np.ndarray, y: np.ndarray, depth: np.ndarray, trust: np.ndarray) -> float:
    """Coefficient of depth in a robust fit of the movement by a shift, place and depth."""
    terms = np.stack([np.ones_like(x), x, y, depth], 1)
    weights = trust
    for _ in range(ROUNDS):
        found = np.linalg.lstsq(terms * weights[:, None], moved * weights, rcond=None)[0]
        weights = trust / (1 + ((terms @ found - moved) / OUTLIER) ** 2)
    return float(found[3])
