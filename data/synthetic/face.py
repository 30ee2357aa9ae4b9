"""Geometry of the procedural head: photo pixels <-> canonical coordinates, exact in both directions.

A head is a unit sphere, stretched to an ellipse and tapered to a jaw *on the screen* (a triangular, hence invertible
map), with a second, larger sphere for the hair. A point of either sphere has **canonical coordinates** (U, V): its
stereographic chart seen from the back of the head, scaled so that around the face's centre one unit is one unit of
the frontal photo. Expressions and the nose's parallax are a smooth displacement ``p = q + D(q)`` of that plane.

Screen coordinates are those of ``torch.nn.functional.grid_sample(align_corners=False)``: x to the right, y down,
-1 and 1 at the outer edges of the picture. The maps themselves are in `compiled.geometry`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

F = np.float32
SCENE, FACE, HAIR = F(0), F(1), F(-1)  # what a pixel shows; SCENE is everything that is not the static person
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


class View(NamedTuple):
    """What the loops over pixels need of a head and a photo."""

    cos_roll: F
    sin_roll: F
    cos_yaw: F
    sin_yaw: F
    cos_pitch: F
    sin_pitch: F
    scale: F
    shift_x: F
    shift_y: F
    half_width: F
    half_height: F
    jaw: F
    temple: F
    hair_radius: F
    eye_u: F
    eye_v: F
    eye_half_u: F
    eye_half_v: F
    mouth_half: F
    mouth_v: F
    lip: F
    eyes: F
    mouth: F
    light_x: F
    light_y: F
    light_z: F
    contrast: F
    gloss: F

    @classmethod
    def of(cls, head: Head, shot: Shot) -> View:
        """A head in a photo."""
        turns = [part(angle) for angle in (shot.roll, shot.yaw, shot.pitch) for part in (math.cos, math.sin)]
        shape = head.half_width, head.half_height, head.jaw, head.temple, head.hair_radius
        features = *head.eye, *head.eye_half, *head.mouth, shot.eyes, shot.mouth
        numbers = *turns, shot.scale, *shot.shift, *shape, *features, *shot.light, shot.contrast, shot.gloss
        return cls(*np.asarray(numbers, F))


@lru_cache(maxsize=8)
def pixel_grid(size: int) -> np.ndarray:
    """Screen coordinates (x, y) of the pixel centres, (2, size, size) float32; not to be written to."""
    axis = (np.arange(size, dtype=F) + F(0.5)) * F(2.0 / size) - F(1)
    grid = np.stack(np.meshgrid(axis, axis))
    grid.flags.writeable = False
    return grid
