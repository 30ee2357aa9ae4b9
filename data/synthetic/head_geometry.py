"""Geometry of the procedural head: photo pixels <-> canonical coordinates, exact in both directions.

A head is a unit sphere, stretched to an ellipse and tapered to a jaw *on the screen* (a triangular, hence invertible
map), with a second, larger sphere for the hair. A point of either sphere has **canonical coordinates** (U, V): its
stereographic chart seen from the back of the head, scaled so that around the face's centre one unit is one unit of
the frontal photo. Expressions and the nose's parallax are a smooth displacement ``p = q + D(q)`` of that plane.

Screen coordinates are those of ``torch.nn.functional.grid_sample(align_corners=False)``: x to the right, y down,
-1 and 1 at the outer edges of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

SCENE, FACE, HAIR = np.float32([0, 1, -1])  # what a pixel shows; SCENE is everything that is not the static person
WARP_LOW, WARP_HIGH, WARP_CELLS = (-0.84, -0.6), (0.84, 1.4), 42  # where D is not zero, and the grid that keeps it
CHART_HALF = (1.36, 1.5)  # half extent of the canonical plane that textures cover (U, V)


@dataclass(frozen=True)
class Head:
    """Shape of a person's head, in canonical units: about those of a frontal photo, whose half side is 1."""

    half_width: float = 0.6
    half_height: float = 0.8
    jaw: float = 0.1  # how much narrower than an ellipse the lower face is
    temple: float = 0.05  # the same for the forehead
    hair_radius: float = 1.12
    eye: tuple[float, float] = (0.26, -0.10)
    eye_half: tuple[float, float] = (0.125, 0.062)
    nose: tuple[float, float] = (0.15, 0.22)  # half width of the wings, V of the tip
    mouth: tuple[float, float, float] = (0.2, 0.46, 0.065)  # half width, V, lip thickness
    brow: tuple[float, float] = (0.26, -0.27)


@dataclass(frozen=True)
class Shot:
    """Everything that belongs to one photo and not to the person. Angles in radians, light in linear factors."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.04)
    mouth: float = 0.0  # 0 closed .. 1 open
    smile: float = 0.0
    eyes: float = 1.0  # 0 closed .. 1 open
    brows: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float, float] = (0.0, -0.3, 0.95)
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 0.8
    gloss: float = 1.0
    glasses: bool = False
    occluder: bool = False
    scene_seed: int = 0

    def unlit(self) -> Shot:
        """The same photo in flat light: every pixel of skin and hair shows its own colour."""
        return replace(self, contrast=0.0, gloss=0.0, tint=(1.0, 1.0, 1.0))


class Projection:
    """Maps between the screen and the canonical plane, for a head in a photo.

    On the way lies a plane in which the head, seen from any side, is the unit disc: (s, t). Arrays are float32 and of
    any shape, alike within a call.
    """

    def __init__(self, head: Head, shot: Shot):
        self._size = head.half_width, head.half_height
        self._taper = 0.5 * (head.jaw - head.temple), 0.5 * (head.jaw + head.temple)
        self._scale, self._shift = shot.scale, shot.shift
        (self._roll, self._yaw, self._pitch) = (
            (math.cos(angle), math.sin(angle)) for angle in (shot.roll, shot.yaw, shot.pitch)
        )

    def _width(self, t: np.ndarray) -> np.ndarray:
        """Width of the head at a height, in half widths: a cubic from 1 - temple (t = -1) to 1 - jaw (t = 1)."""
        slope, middle = self._taper
        return 1 - t * t * (slope * t + middle)

    def screen_to_disc(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map screen points to (s, t)."""
        (cos, sin), (width, height) = self._roll, self._size
        x, y = x - self._shift[0], y - self._shift[1]
        t = (cos * y - sin * x) * (1 / (self._scale * height))
        return (cos * x + sin * y) * (1 / (self._scale * width)) / self._width(t), t

    def disc_to_screen(self, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Invert `screen_to_disc`."""
        (cos, sin), (width, height) = self._roll, self._size
        x, y = s * self._width(t) * (self._scale * width), t * (self._scale * height)
        return cos * x - sin * y + self._shift[0], sin * x + cos * y + self._shift[1]

    def disc_to_chart(self, s: np.ndarray, t: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """Map (s, t) on the front of a sphere to the displaced canonical plane.

        The point is turned back by pitch and yaw and projected from the back of the head. Beyond the silhouette the
        depth is mirrored, to stay continuous.
        """
        (cos_yaw, sin_yaw), (cos_pitch, sin_pitch), (width, height) = self._yaw, self._pitch, self._size
        depth = np.sqrt(np.abs(s * s + t * t - radius * radius))
        y, z = cos_pitch * t - sin_pitch * depth, sin_pitch * t + cos_pitch * depth
        share = 2 / (sin_yaw * s + cos_yaw * z + radius)
        return (cos_yaw * s - sin_yaw * z) * share * width, y * share * height

    def chart_to_disc(
        self, u: np.ndarray, v: np.ndarray, radius: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Invert `disc_to_chart`; return (s, t) and the cosine of the viewing angle (negative: the far side)."""
        (cos_yaw, sin_yaw), (cos_pitch, sin_pitch), (width, height) = self._yaw, self._pitch, self._size
        x, y = u * (0.5 / width), v * (0.5 / height)
        share = 2 / (1 + x * x + y * y)
        x, y, z = x * share, y * share, share - 1
        x, z = cos_yaw * x + sin_yaw * z, cos_yaw * z - sin_yaw * x
        y, z = cos_pitch * y + sin_pitch * z, cos_pitch * z - sin_pitch * y
        return radius * x, radius * y, z


@lru_cache(maxsize=8)
def screen_grid(count: int, size: float) -> np.ndarray:
    """Return screen coordinates (x, y) of the first `count` pixels of each side, (2, count, count); read-only."""
    axis = (np.arange(count, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / size) - 1
    grid = np.stack(np.meshgrid(axis, axis))
    grid.flags.writeable = False
    return grid


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
