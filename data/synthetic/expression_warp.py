"""Expressions and the nose's parallax: a smooth displacement of the face's canonical plane, and its inverse."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .head_geometry import Head, Shot

WARP_LOW, WARP_HIGH, WARP_CELLS = (-0.84, -0.6), (0.84, 1.4), 42  # where D is not zero, and the grid that keeps it


@lru_cache(maxsize=1)
def _warp_axes() -> tuple[np.ndarray, np.ndarray]:
    u, v = (np.linspace(low, high, WARP_CELLS, dtype=np.float32) for low, high in zip(WARP_LOW, WARP_HIGH, strict=True))
    return u, v


def _step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _bump(x: np.ndarray, centre: float, half: float) -> np.ndarray:
    t = np.clip(1.0 - ((x - centre) / half) ** 2, 0.0, None)
    return t * t


def warp_basis(head: Head) -> np.ndarray:
    """Return the displacements (7, cells, cells, 2) of a person's expressions in canonical units."""
    u, v = _warp_axes()
    (_eye_u, _), (brow_u, brow_v), (mouth_w, mouth_v, lip) = head.eye, head.brow, head.mouth
    nose = np.outer(_bump(v, head.nose[1] - 0.08, 0.42), _bump(u, 0.0, 0.38))
    drop = _step(v, mouth_v - 1.5 * lip, mouth_v + 1.6 * lip) * (1.0 - _step(v, mouth_v + 0.2, mouth_v + 0.85))
    jaw = np.outer(drop, _bump(u, 0.0, 0.8))
    corner = [np.outer(_bump(v, mouth_v, 0.28), _bump(u, side * mouth_w, 0.26)) for side in (-1, 1)]
    brow = [np.outer(_bump(v, brow_v - 0.03, 0.19), _bump(u, side * brow_u, 0.3)) for side in (-1, 1)]
    zero = np.zeros_like(nose)
    basis = [
        (0.16 * nose, zero),
        (zero, 0.16 * nose),
        (zero, 0.115 * jaw),
        (-0.055 * corner[0], -0.05 * corner[0]),
        (0.055 * corner[1], -0.05 * corner[1]),
        (zero, -0.055 * brow[0]),
        (zero, -0.055 * brow[1]),
    ]
    return np.stack([np.stack([du, dv], axis=-1) for du, dv in basis]).astype(np.float32)


class Warp(NamedTuple):
    """The displacement ``p = q + D(q)`` of the canonical plane in one photo, and its inverse ``q = p - E(p)``.

    Both are kept on a grid and interpolated; they undo each other to some hundredths of a pixel (tested).
    """

    forward: np.ndarray  # (cells, cells, 2) D
    backward: np.ndarray  # (cells, cells, 2) E

    @classmethod
    def of(cls, basis: np.ndarray, shot: Shot) -> Warp:
        """Build a person's warp in a photo: the nose's parallax by yaw and pitch, mouth, smile twice, brows."""
        turn = np.sin(shot.yaw), -np.sin(shot.pitch)
        weights = np.float32([*turn, shot.mouth, shot.smile, shot.smile, *shot.brows])
        forward = (weights @ basis.reshape(len(weights), -1)).reshape(basis.shape[1:])
        u, v = np.meshgrid(*_warp_axes())
        backward = forward
        for _ in range(4 if weights[2:].any() else 2):  # E(p) = D(p - E(p)), damped: a mouth opens steeply
            there = displacement(forward, u - backward[..., 0], v - backward[..., 1])
            backward = 0.25 * backward + 0.75 * np.stack(there, -1)
        return cls(forward, backward)


def displacement(grid: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate a grid of displacements (cells, cells, 2) at canonical points: (U, V).

    `cv2.remap` would round positions to 1/32 of a cell, up to 0.1 pixels of a photo.
    """
    spots = []
    for x, low, high in zip((u, v), WARP_LOW, WARP_HIGH, strict=True):
        place = np.clip((x - low) * ((WARP_CELLS - 1) / (high - low)), 0, WARP_CELLS - 1)
        first = np.minimum(place.astype(np.int32), WARP_CELLS - 2)
        spots.append((first, place - first.astype(np.float32)))
    (left, right), (top, down) = spots
    cells, moves = top * WARP_CELLS + left, grid.view(np.complex64).ravel()  # both components at once
    upper, lower = moves.take(cells), moves.take(cells + WARP_CELLS)
    upper += right * (moves.take(cells + 1) - upper)
    lower += right * (moves.take(cells + (WARP_CELLS + 1)) - lower)
    upper += down * (lower - upper)
    return upper.real, upper.imag
