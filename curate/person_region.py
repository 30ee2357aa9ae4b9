"""Where the person is in an aligned photo: a prior of face and hair, sharpened by the colours of the photo itself.

Colours of the face's middle are the person's, colours along the border mostly are not; what lies between is decided by
which of the two it looks like, a few times in turn (EM with two colour histograms).
"""

from functools import lru_cache

import cv2
import numpy as np

from refstar.data.geometry import unit_grid

LIGHTS, TINTS = 16, 32  # bins of Lab's L, and of its a and b
ROUNDS = 3
SAMPLES = 128  # side at which colours are counted


def person(img: np.ndarray) -> np.ndarray:
    """Logit of "this pixel shows the person", face or hair, in an FFHQ-aligned photo.

    Args:
        img: (S, S, 3), RGB, float32 in [0, 1].

    Returns:
        (S, S) float32.
    """
    small = min(len(img), SAMPLES)
    place = _place(small)
    bins = _bins(cv2.resize(img, (small, small), interpolation=cv2.INTER_AREA))
    ratio = np.zeros(LIGHTS * TINTS**2, np.float32)
    for _ in range(ROUNDS):
        share = sigmoid(place + ratio[bins])
        ratio = np.log(_histogram(bins, share) / _histogram(bins, 1 - share))
    return cv2.resize(place + ratio[bins], img.shape[:2], interpolation=cv2.INTER_LINEAR)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function."""
    return 1 / (1 + np.exp(-x))


@lru_cache(maxsize=8)
def _place(size: int) -> np.ndarray:
    """Logit of "person" by the place alone, (S, S): falls off from the head's middle; the face itself is sure."""
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


# bin of every 8-bit value of L, a, b: L over its whole range, a and b over the middle half of theirs
_VALUES = np.arange(256)
_TINT = np.clip((_VALUES - 128) // 4 + TINTS // 2, 0, TINTS - 1)
_INDEX = np.stack([_VALUES * LIGHTS // 256, _TINT, _TINT], 1)
