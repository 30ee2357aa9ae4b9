"""Geometry of the procedural head: photo pixels <-> canonical coordinates, exact in both directions.

A head is a unit sphere, stretched to an ellipse and tapered to a jaw *on the screen* (a triangular, hence invertible
map), with a second, larger sphere for the hair. A point of either sphere has **canonical coordinates** (U, V): its
stereographic chart seen from the back of the head, scaled so that around the face's centre one unit is one unit of
the frontal photo. Expressions and the nose's parallax are a smooth displacement ``p = q + D(q)`` of that plane.

Screen coordinates are those of ``torch.nn.functional.grid_sample(align_corners=False)``: x to the right, y down,
-1 and 1 at the outer edges of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np

SCENE, FACE, HAIR = 0.0, 1.0, -1.0  # what a pixel shows; SCENE is everything that is not the static person
CHART_HALF = (1.36, 1.5)  # half extent of the canonical plane that textures cover (U, V)
WARP_LOW, WARP_HIGH, WARP_CELLS = (-0.84, -0.6), (0.84, 1.4), 48  # where D is not zero, and the grid that keeps it
GRAZING = 0.22  # surface seen at a steeper angle than this (cosine) counts as hidden


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


@dataclass
class Photo:
    """A rendered photo with its exact maps; all arrays float32."""

    planes: np.ndarray  # (3, H, W) RGB in [0, 1]
    u: np.ndarray  # (H, W) canonical coordinates of what the pixel shows
    v: np.ndarray
    layer: np.ndarray  # (H, W) SCENE / FACE / HAIR
    shot: Shot
    head: Head
    warp: Warp = field(repr=False)

    @property
    def image(self) -> np.ndarray:
        """The photo as (H, W, 3) RGB in [0, 1]."""
        return cv2.merge(list(self.planes))


@lru_cache(maxsize=8)
def pixel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Screen coordinates (x, y) of the pixel centres, each (size, size) float32."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    x.flags.writeable = y.flags.writeable = False
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


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
    """Displacements (7, 2, cells, cells) of a person's expressions, in canonical units; weights: `warp_weights`."""
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
    return np.asarray(basis, dtype=np.float32)


def warp_weights(shot: Shot) -> np.ndarray:
    """Weights (7,) of `warp_basis` in a photo: the nose's parallax by yaw and pitch, mouth, smile twice, brows."""
    return np.asarray(
        [np.sin(shot.yaw), -np.sin(shot.pitch), shot.mouth, shot.smile, shot.smile, *shot.brows], dtype=np.float32
    )


class Warp:
    """The displacement ``p = q + D(q)`` of the canonical plane in one photo, and its inverse ``q = p - E(p)``.

    Both are kept on a grid and interpolated; they undo each other to some hundredths of a pixel (tested).
    """

    def __init__(self, basis: np.ndarray, shot: Shot, iterations: int = 4):
        weights = warp_weights(shot)
        du, dv = self._forward = (weights @ basis.reshape(len(weights), -1)).reshape(basis.shape[1:])
        (column, row), (per_u, per_v) = _nodes(), _cells_per_unit()
        eu, ev = du, dv
        for _ in range(iterations):  # E(p) = D(p - E(p)), damped, so that the steep opening of a mouth converges
            at = column - per_u * eu, row - per_v * ev
            eu = np.float32(0.25) * eu + np.float32(0.75) * _lookup(du, *at)
            ev = np.float32(0.25) * ev + np.float32(0.75) * _lookup(dv, *at)
        self._backward = eu, ev

    def forward(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where a canonical point of the face is displaced to."""
        at = _cells(u, v)
        return u + _lookup(self._forward[0], *at), v + _lookup(self._forward[1], *at)

    def backward(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The canonical point that is displaced to (u, v)."""
        at = _cells(u, v)
        return u - _lookup(self._backward[0], *at), v - _lookup(self._backward[1], *at)


@lru_cache(maxsize=1)
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    index = np.arange(WARP_CELLS, dtype=np.float32)
    column, row = np.meshgrid(index, index)
    return np.ascontiguousarray(column), np.ascontiguousarray(row)


def _cells_per_unit() -> tuple[np.float32, np.float32]:
    return tuple(np.float32((WARP_CELLS - 1) / (high - low)) for low, high in zip(WARP_LOW, WARP_HIGH, strict=True))


def _cells(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    per_u, per_v = _cells_per_unit()
    return (u - np.float32(WARP_LOW[0])) * per_u, (v - np.float32(WARP_LOW[1])) * per_v


def _lookup(grid: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    return cv2.remap(grid, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def _taper(head: Head, t: np.ndarray) -> np.ndarray:
    below, above = np.maximum(t, 0), np.minimum(t, 0)
    return 1.0 - np.float32(head.jaw) * below * below - np.float32(head.temple) * above * above


def screen_to_head(head: Head, shot: Shot, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Screen points to the plane in which the head, seen from any side, is the unit disc."""
    cos, sin = np.float32(np.cos(shot.roll) / shot.scale), np.float32(np.sin(shot.roll) / shot.scale)
    x, y = x - np.float32(shot.shift[0]), y - np.float32(shot.shift[1])
    t = (cos * y - sin * x) * np.float32(1.0 / head.half_height)
    return (cos * x + sin * y) * np.float32(1.0 / head.half_width) / _taper(head, t), t


def head_to_screen(head: Head, shot: Shot, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `screen_to_head`."""
    cos, sin = np.float32(np.cos(shot.roll) * shot.scale), np.float32(np.sin(shot.roll) * shot.scale)
    s = s * _taper(head, t) * np.float32(head.half_width)
    t = t * np.float32(head.half_height)
    return cos * s - sin * t + np.float32(shot.shift[0]), sin * s + cos * t + np.float32(shot.shift[1])


def box(head: Head, shot: Shot, size: int, half_s: float, low_t: float, high_t: float) -> tuple[slice, slice]:
    """Rows and columns of the pixels that can show |s| <= half_s, low_t <= t <= high_t."""
    s = np.asarray([-half_s, half_s, -half_s, half_s], np.float32)
    t = np.asarray([low_t, low_t, high_t, high_t], np.float32)
    straight = replace(head, jaw=min(head.jaw, 0.0), temple=min(head.temple, 0.0))  # no narrower anywhere between
    x, y = ((axis + 1) * (size / 2) for axis in head_to_screen(straight, shot, s, t))
    rows, columns = ((max(0, int(a.min()) - 1), min(size, int(a.max()) + 2)) for a in (y, x))
    return slice(*rows), slice(*columns)


def disc_to_chart(head: Head, shot: Shot, s: np.ndarray, t: np.ndarray, depth: np.ndarray, radius: float):
    """Points (s, t, depth) of a sphere, in the camera's axes, to the displaced canonical plane (p)."""
    cos_y, sin_y = np.float32(np.cos(shot.yaw)), np.float32(np.sin(shot.yaw))
    cos_p, sin_p = np.float32(np.cos(shot.pitch)), np.float32(np.sin(shot.pitch))
    y, z = cos_p * t - sin_p * depth, sin_p * t + cos_p * depth
    x, z = cos_y * s - sin_y * z, sin_y * s + cos_y * z
    scale = 2.0 / (np.float32(radius) + z)
    return x * scale * np.float32(head.half_width), y * scale * np.float32(head.half_height)


def chart_to_disc(head: Head, shot: Shot, u: np.ndarray, v: np.ndarray, radius: np.ndarray | float):
    """Inverse of `disc_to_chart`: (s, t) and the cosine of the viewing angle (negative: the far side)."""
    u, v = u * np.float32(0.5 / head.half_width), v * np.float32(0.5 / head.half_height)
    scale = 2.0 / (1.0 + u * u + v * v)
    x, y, z = u * scale, v * scale, scale - 1.0
    cos_y, sin_y = np.float32(np.cos(shot.yaw)), np.float32(np.sin(shot.yaw))
    cos_p, sin_p = np.float32(np.cos(shot.pitch)), np.float32(np.sin(shot.pitch))
    x, z = cos_y * x + sin_y * z, cos_y * z - sin_y * x
    y, z = cos_p * y + sin_p * z, cos_p * z - sin_p * y
    return x * radius, y * radius, z


def eye_zone(head: Head, u: np.ndarray, v: np.ndarray, grow: float = 1.3) -> np.ndarray:
    """Whether canonical points of the face belong to an eye (bool)."""
    across = (np.abs(u) - np.float32(head.eye[0])) * np.float32(1.0 / (grow * head.eye_half[0]))
    down = (v - np.float32(head.eye[1])) * np.float32(1.0 / (grow * head.eye_half[1]))
    return across * across + down * down < 1.0


def mouth_zone(head: Head, u: np.ndarray, v: np.ndarray, grow: float = 1.2) -> np.ndarray:
    """Whether canonical points of the face belong to the lips (bool)."""
    half, centre, lip = head.mouth
    across, down = u * np.float32(1.0 / (grow * half)), (v - np.float32(centre)) * np.float32(1.0 / (1.9 * lip))
    return across * across + down * down < 1.0


def correspond(photo: Photo, other: Photo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact correspondence from one photo to another photo of the same person.

    Args:
        photo: Whose pixels are asked about.
        other: Where their content is looked for.

    Returns:
        flow: (2, H, W) float32, sampling position (x, y) in ``other`` in grid_sample's convention
            (align_corners=False); the pixel's own position where nothing is known.
        visible: (H, W) bool, the pixel shows a point of the person that ``other`` shows too.
        selected: (H, W) bool, ``visible`` without lips or eyes whose state differs.
    """
    head, u, v = photo.head, photo.u, photo.v
    face = np.maximum(photo.layer, 0)
    moved_u, moved_v = other.warp.forward(u, v)
    moved_u, moved_v = u + face * (moved_u - u), v + face * (moved_v - v)
    radius = np.float32(head.hair_radius) + face * np.float32(1.0 - head.hair_radius)
    s, t, cosine = chart_to_disc(head, other.shot, moved_u, moved_v, radius)
    x, y = head_to_screen(head, other.shot, s, t)
    half = np.float32(0.5 * other.layer.shape[1])
    shown = _lookup(other.layer, (x + 1) * half - np.float32(0.5), (y + 1) * half - np.float32(0.5))
    visible = (shown * photo.layer > 0.7) & (cosine > GRAZING)  # same layer on top here and there
    grid_x, grid_y = pixel_grid(photo.layer.shape[0])
    flow = np.stack([grid_x + visible * (x - grid_x), grid_y + visible * (y - grid_y)])
    selected = visible
    ours, theirs = photo.shot, other.shot
    if abs(ours.eyes - theirs.eyes) > 0.1:
        selected = selected & ~((face > 0) & eye_zone(head, u, v))
    if abs(ours.mouth - theirs.mouth) > 0.15 or abs(ours.smile - theirs.smile) > 0.5:
        selected = selected & ~((face > 0) & mouth_zone(head, u, v))
    return flow, visible, selected
