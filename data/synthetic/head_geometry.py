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

SCENE, FACE, HAIR = np.float32([0, 1, -1])  # what a pixel shows; SCENE is everything that is not the static person
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
