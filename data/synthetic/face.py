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

import numpy as np

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


@lru_cache(maxsize=8)
def pixel_grid(size: int) -> np.ndarray:
    """Screen coordinates (x, y) of the pixel centres and ones, (3, size, size) float32; not to be written to."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0
    grid = np.stack([*np.meshgrid(axis, axis), np.ones((size, size), np.float32)])
    grid.flags.writeable = False
    return grid


def _taper(head: Head, t: np.ndarray) -> np.ndarray:
    """How wide the head is at a height, in half widths; a cubic between 1 - temple (t = -1) and 1 - jaw (t = 1)."""
    out = (0.5 * (head.jaw - head.temple)) * t
    out += 0.5 * (head.jaw + head.temple)
    out *= t
    out *= t
    return 1 - out


def screen_to_head(head: Head, shot: Shot, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Screen points (3, ...) = (x, y, 1) to the plane in which the head, seen from any side, is the unit disc."""
    cos, sin = math.cos(shot.roll) / shot.scale, math.sin(shot.roll) / shot.scale
    (x, y), (width, height) = shot.shift, (head.half_width, head.half_height)
    across = cos / width, sin / width, -(cos * x + sin * y) / width
    down = -sin / height, cos / height, (sin * x - cos * y) / height
    s, t = (np.asarray([across, down], np.float32) @ grid.reshape(3, -1)).reshape(2, *grid.shape[1:])
    s /= _taper(head, t)
    return s, t


def head_to_screen(head: Head, shot: Shot, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (s, t) to screen points (x, y): the inverse of `screen_to_head`."""
    cos, sin = math.cos(shot.roll) * shot.scale, math.sin(shot.roll) * shot.scale
    s, t = s * _taper(head, t) * head.half_width, t * head.half_height
    return cos * s - sin * t + shot.shift[0], sin * s + cos * t + shot.shift[1]


def box(head: Head, shot: Shot, size: int, centre: tuple, half: tuple) -> tuple[slice, slice]:
    """Rows and columns of the pixels that can show points within `half` of `centre`, both (s, t)."""
    cos, sin = math.cos(shot.roll) * shot.scale, math.sin(shot.roll) * shot.scale
    widest = head.half_width * (1 + max(0.0, -head.jaw, -head.temple))
    s, ds = centre[0] * head.half_width, half[0] * widest
    t, dt = centre[1] * head.half_height, half[1] * head.half_height
    middle = sin * s + cos * t + shot.shift[1], cos * s - sin * t + shot.shift[0]
    reach = abs(sin) * ds + abs(cos) * dt, abs(cos) * ds + abs(sin) * dt
    return tuple(
        slice(max(0, int((m - r + 1) * size / 2) - 1), max(0, min(size, int((m + r + 1) * size / 2) + 2)))
        for m, r in zip(middle, reach, strict=True)
    )


def disc_to_chart(head: Head, shot: Shot, points: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (3, ...) = (s, t, depth) of a sphere, in the camera's axes, to the displaced canonical plane (p)."""
    turn = _turn(shot).T * np.asarray([[2 * head.half_width], [2 * head.half_height], [1]], np.float32)
    x, y, z = (turn @ points.reshape(3, -1)).reshape(points.shape)
    z += radius
    x /= z
    y /= z
    return x, y


def chart_to_disc(head: Head, shot: Shot, u: np.ndarray, v: np.ndarray, radius: np.ndarray | float):
    """Inverse of `disc_to_chart`: (s, t) and the cosine of the viewing angle (negative: the far side)."""
    points = np.empty((3, *u.shape), np.float32)
    scale = points[2]
    np.multiply(u, u * (0.25 / head.half_width**2), out=scale)
    scale += v * v * (0.25 / head.half_height**2)
    scale += 1
    np.divide(2, scale, out=scale)
    np.multiply(u, scale, out=points[0])
    np.multiply(v, scale, out=points[1])
    scale -= 1
    turn = _turn(shot) * np.asarray([0.5 / head.half_width, 0.5 / head.half_height, 1], np.float32)
    x, y, cosine = (turn @ points.reshape(3, -1)).reshape(points.shape)
    x *= radius
    y *= radius
    return x, y, cosine


def _turn(shot: Shot) -> np.ndarray:
    """Rotation (3, 3) from the head's axes to the camera's: yaw, then pitch."""
    cos_y, sin_y, cos_p, sin_p = math.cos(shot.yaw), math.sin(shot.yaw), math.cos(shot.pitch), math.sin(shot.pitch)
    rows = (cos_y, 0, sin_y), (-sin_p * sin_y, cos_p, sin_p * cos_y), (-cos_p * sin_y, -sin_p, cos_p * cos_y)
    return np.asarray(rows, np.float32)
