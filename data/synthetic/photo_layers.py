"""What is drawn by chance for one photo: surroundings, glasses, an occluder."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from .face import F, pixel_grid
from .identity import Identity
from .paint import smooth_noise

_WARM = F([1.05, 0.92, 0.88])  # ears and a shaded neck are a little redder than the face


def surroundings(person: Identity, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random studio and clothes: the plain background (3, size, size), and the colours (4, 3) of what is before it.

    These are, from front to back, ears, clothes, neck, hair behind the head.
    """
    cloth = rng.uniform(0.1, 0.8) + rng.normal(0, 0.1, 3)
    coarse = rng.standard_normal((4, 5, 5), dtype=F)
    studio = rng.uniform(0.38, 0.6) + rng.normal(0, 0.04, (3, 1, 1)).astype(F)
    background = smooth_noise(F(0.015) * coarse[:3] + F(0.04) * coarse[3] + studio, size, size)
    return background, F([person.skin * _WARM, cloth, person.skin * _WARM, person.hair])


class Glasses(NamedTuple):
    """Glasses: half extent of a lens in canonical units, whether it is round (0 or 1), brightness of lens and frame."""

    wide: F
    high: F
    round: F
    lens: F
    frame: F


def draw_glasses(rng: np.random.Generator) -> Glasses:
    """Random glasses."""
    size = rng.uniform(0.19, 0.22), rng.uniform(0.13, 0.17)
    return Glasses(*map(F, (*size, rng.random() < 0.5, rng.uniform(0.02, 0.1), rng.uniform(0.02, 0.3))))


def occluder(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand-like or cloth-like soft shape that reaches in from the border; returns what it covers (H, W) bool."""
    size = image.shape[1]
    mask = np.zeros((size, size), np.uint8)
    angle, near = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.3)
    out = math.cos(angle), math.sin(angle)
    ends = [[int(8 * size * (0.5 + far * axis)) for axis in out] for far in (near, 0.9)]
    cv2.line(mask, *ends, 255, max(2, int(size * rng.uniform(0.06, 0.2))), cv2.LINE_AA, 3)
    alpha = cv2.blur(mask, (3, 3)).astype(F)
    alpha *= 1 / 255
    colour = np.clip(rng.uniform(0.2, 0.75) + rng.normal(0, 0.1, 3), 0.05, 0.9)
    x, y = pixel_grid(size)
    tone = 0.9 + 0.4 * (y * out[0] - x * out[1])
    for plane, value in zip(image, colour.tolist(), strict=True):
        plane += alpha * (value * tone - plane)
    return alpha > 0.02
