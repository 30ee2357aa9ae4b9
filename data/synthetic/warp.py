"""Expressions and the nose's parallax: a smooth displacement of the face's canonical plane, and its inverse."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .face import Head, Shot

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
    """Displacements (7, cells, cells, 4) of a person's expressions: U, V and two empty channels (remap likes four).

    In canonical units; `warp_weights` weighs them.
    """
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
    return np.stack([np.stack([du, dv, zero, zero], axis=-1) for du, dv in basis]).astype(np.float32)


def warp_weights(shot: Shot) -> np.ndarray:
    """Weights (7,) of `warp_basis` in a photo: the nose's parallax by yaw and pitch, mouth, smile twice, brows."""
    return np.asarray(
        [np.sin(shot.yaw), -np.sin(shot.pitch), shot.mouth, shot.smile, shot.smile, *shot.brows], dtype=np.float32
    )


class Warp:
    """The displacement ``p = q + D(q)`` of the canonical plane in one photo, and its inverse ``q = p - E(p)``.

    Both are kept on a grid and interpolated; they undo each other to some hundredths of a pixel (tested).
    """

    def __init__(self, basis: np.ndarray, shot: Shot):
        weights = warp_weights(shot)
        self._forward = moved = (weights @ basis.reshape(len(weights), -1)).reshape(basis.shape[1:])
        (column, row), (per_u, per_v) = _nodes(), _cells_per_unit()
        back = moved
        for _ in range(4 if weights[2:].any() else 2):  # E(p) = D(p - E(p)), damped: a mouth opens steeply
            there = lookup(moved, column - per_u * back[..., 0], row - per_v * back[..., 1])
            back = 0.25 * back + 0.75 * there
        self._backward = back

    def forward(self, u: np.ndarray, v: np.ndarray, share: np.ndarray | float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Where a canonical point of the face is displaced to, or a share of the way there."""
        moved = lookup(self._forward, *_cells(u, v))
        return u + share * moved[..., 0], v + share * moved[..., 1]

    def backward(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The canonical point that is displaced to (u, v)."""
        moved = lookup(self._backward, *_cells(u, v))
        return u - moved[..., 0], v - moved[..., 1]


@lru_cache(maxsize=1)
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    index = np.arange(WARP_CELLS, dtype=np.float32)
    column, row = np.meshgrid(index, index)
    return np.ascontiguousarray(column), np.ascontiguousarray(row)


def _cells_per_unit() -> tuple[float, float]:
    return tuple((WARP_CELLS - 1) / (high - low) for low, high in zip(WARP_LOW, WARP_HIGH, strict=True))


def _cells(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    per_u, per_v = _cells_per_unit()
    return (u - WARP_LOW[0]) * per_u, (v - WARP_LOW[1]) * per_v


def lookup(grid: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    return cv2.remap(grid, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
