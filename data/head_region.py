"""The head in an aligned photo: where the person is, and which side of it another pose hides.

Person: colours of the face's middle are the person's, colours along the border mostly are not. What lies between is
decided by which of the two it looks like, a few times in turn (EM with two colour histograms), from a prior of face
and hair.

Hidden side: the head is an ellipsoid. Aligned photos keep eyes and mouth in place, so a turned head shows as its middle
moving against its outline: points near the camera, in proportion to their depth. That share of the movement is the
turn; what it carries over the edge of the ellipsoid cannot be seen in the other photo.
"""

from functools import lru_cache

import cv2
import numpy as np

from .geometry import pixel_grid, unit_grid

LIGHTS, TINTS = 16, 32  # bins of Lab's L, and of its a and b
EM_ROUNDS = 3
SAMPLES = 128  # side at which colours are counted
HALF = 0.86, 1.15  # of the ellipsoid with hair, in the [-1, 1] of the photo
LEVEL = slice(0.42, 0.68)  # rows, as shares of the side, in which its middle is looked for
CENTRING = 2.0  # the outline found moves half as far as the head: what is behind it is taken for the person too
TURN = 2.2  # movement per depth and sine of the turn
GRAZING = 0.3  # cosine of the angle below which a surface is seen too flatly
STEP, FIT_ROUNDS, OUTLIER = 4, 3, 0.02
# bin of every 8-bit value of L, a, b: L over its whole range, a and b over the middle half of theirs
_VALUES = np.arange(256)
_TINT = np.clip((_VALUES - 128) // 4 + TINTS // 2, 0, TINTS - 1)
_INDEX = np.stack([_VALUES * LIGHTS // 256, _TINT, _TINT], 1)


def person(img: np.ndarray) -> np.ndarray:
    """Return the logit of "this pixel shows the person", face or hair, (S, S), in an FFHQ-aligned photo.

    The photo is (S, S, 3), RGB, float32 in [0, 1].
    """
    small = min(len(img), SAMPLES)
    place = _place(small)
    bins = _bins(cv2.resize(img, (small, small), interpolation=cv2.INTER_AREA))
    ratio = np.zeros(LIGHTS * TINTS**2, np.float32)
    for _ in range(EM_ROUNDS):
        share = sigmoid(place + ratio[bins])
        ratio = np.log(_histogram(bins, share) / _histogram(bins, 1 - share))
    return cv2.resize(place + ratio[bins], img.shape[:2], interpolation=cv2.INTER_LINEAR)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return the logistic function of x."""
    return 1 / (1 + np.exp(-x))


@lru_cache(maxsize=8)
def _place(size: int) -> np.ndarray:
    """Return the logit of "person" by the place alone, (S, S): it falls off from the middle; the face is sure."""
    x, y = cv2.split(unit_grid(size))
    place = 3.2 - 3 * (x / 0.75) ** 2 - 1.2 * ((y + 0.05) / 0.9) ** 4
    place[(x / 0.4) ** 2 + ((y - 0.1) / 0.55) ** 2 < 1] += 3
    return place.astype(np.float32)


def _bins(img: np.ndarray) -> np.ndarray:
    """Number of the colour bin of every pixel, of the photo slightly blurred; (s, s) int."""
    lab = cv2.cvtColor(cv2.GaussianBlur(cv2.convertScaleAbs(img, alpha=255), (3, 3), 0), cv2.COLOR_RGB2LAB)
    light, *tints = (_INDEX[plane.ravel(), i] for i, plane in enumerate(cv2.split(lab)))
    return ((light * TINTS + tints[0]) * TINTS + tints[1]).reshape(lab.shape[:2])


def _histogram(bins: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Smooth weighted share of every colour, (LIGHTS * TINTS ** 2,); no colour is impossible."""
    total = float(weights.sum())
    count = np.bincount(bins.ravel(), weights.ravel(), LIGHTS * TINTS**2).astype(np.float32)
    count = _blur(LIGHTS, 1.5) @ count.reshape(LIGHTS, -1)
    count = _blur(TINTS, 1.2) @ count.reshape(LIGHTS, TINTS, TINTS) @ _blur(TINTS, 1.2)
    return count.ravel() / total + np.float32(1e-4)


@lru_cache(maxsize=4)
def _blur(count: int, sigma: float) -> np.ndarray:
    """Gaussian that blurs a histogram of `count` bins, as a matrix."""
    off = np.arange(count)[:, None] - np.arange(count)[None]
    matrix = np.exp(-0.5 * (off / sigma) ** 2)
    return (matrix / matrix.sum(0)).astype(np.float32)


def hidden_side(shown: np.ndarray, positions: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Find what of a head cannot be seen in another photo, (S, S) bool.

    Args:
        shown: probability that a pixel shows the person, (S, S).
        positions: where its pixels lie in the other photo, (S, S, 2).
        confidence: of each position, (S, S), 0 to 1.
    """
    size = len(shown)
    x, y = cv2.split(unit_grid(size))
    across = (x - CENTRING * _middle(shown)) / HALF[0]
    depth = np.sqrt(np.clip(1 - across**2 - (y / HALF[1]) ** 2, 0, None))
    face = (x / 0.42) ** 2 + ((y - 0.12) / 0.5) ** 2 < 1
    few = np.zeros_like(face)
    few[::STEP, ::STEP] = face[::STEP, ::STEP]
    moved = (positions[few] - pixel_grid(size)[few])[:, 0] * (2 / size)
    turn = np.clip(_share_of_depth(moved, x[few], y[few], depth[few], confidence[few]) / TURN, -0.9, 0.9)
    return depth * np.sqrt(1 - turn**2) - across * turn < GRAZING


def _middle(shown: np.ndarray) -> float:
    """Middle of the person's outline at the height of eyes and nose, in [-1, 1]."""
    size = len(shown)
    columns = shown[int(LEVEL.start * size) : int(LEVEL.stop * size)].mean(0)
    return float(columns[size // 2 :].sum() - columns[: size // 2].sum()) / size


def _share_of_depth(
    moved: np.ndarray, x: np.ndarray, y: np.ndarray, depth: np.ndarray, confidence: np.ndarray
) -> float:
    """Return the coefficient of depth in a robust fit of the movement by a shift, place and depth."""
    terms = np.stack([np.ones_like(x), x, y, depth], 1)
    weights = confidence
    for _ in range(FIT_ROUNDS):
        found = np.linalg.lstsq(terms * weights[:, None], moved * weights, rcond=None)[0]
        weights = confidence / (1 + ((terms @ found - moved) / OUTLIER) ** 2)
    return float(found[3])
