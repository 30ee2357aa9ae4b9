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
from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np

SCENE, FACE, HAIR = 0.0, 1.0, -1.0  # what a pixel shows; SCENE is everything that is not the static person
CHART_HALF = (1.36, 1.5)  # half extent of the canonical plane that textures cover (U, V)
WARP_LOW, WARP_HIGH, WARP_CELLS = (-0.84, -0.6), (0.84, 1.4), 42  # where D is not zero, and the grid that keeps it
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
    """Screen coordinates of the pixel centres, to be broadcast: x (1, size) and y (size, 1), float32."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0
    return axis[None], axis[:, None]


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
            there = _lookup(moved, column - per_u * back[..., 0], row - per_v * back[..., 1])
            back = 0.25 * back + 0.75 * there
        self._backward = back

    def forward(self, u: np.ndarray, v: np.ndarray, share: np.ndarray | float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Where a canonical point of the face is displaced to, or a share of the way there."""
        moved = _lookup(self._forward, *_cells(u, v))
        return u + share * moved[..., 0], v + share * moved[..., 1]

    def backward(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The canonical point that is displaced to (u, v)."""
        moved = _lookup(self._backward, *_cells(u, v))
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


def _lookup(grid: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    return cv2.remap(grid, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def _taper(head: Head, t: np.ndarray) -> np.ndarray:
    """How wide the head is at a height, in half widths; a cubic between 1 - temple (t = -1) and 1 - jaw (t = 1)."""
    out = (0.5 * (head.jaw - head.temple)) * t
    out += 0.5 * (head.jaw + head.temple)
    out *= t
    out *= t
    return 1 - out


def screen_to_head(head: Head, shot: Shot, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Screen points to the plane in which the head, seen from any side, is the unit disc."""
    cos, sin = math.cos(shot.roll) / shot.scale, math.sin(shot.roll) / shot.scale
    x, y = x - shot.shift[0], y - shot.shift[1]
    t = (cos / head.half_height) * y - (sin / head.half_height) * x
    s = (cos / head.half_width) * x + (sin / head.half_width) * y
    s /= _taper(head, t)
    return s, t


def head_to_screen(head: Head, shot: Shot, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `screen_to_head`."""
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


def eye_zone(head: Head, u: np.ndarray, v: np.ndarray, grow: float = 1.3) -> np.ndarray:
    """Whether canonical points of the face belong to an eye (bool)."""
    across = (np.abs(u) - head.eye[0]) * (1 / (grow * head.eye_half[0]))
    down = (v - head.eye[1]) * (1 / (grow * head.eye_half[1]))
    return across * across + down * down < 1.0


def mouth_zone(head: Head, u: np.ndarray, v: np.ndarray, grow: float = 1.2) -> np.ndarray:
    """Whether canonical points of the face belong to the lips (bool)."""
    half, centre, lip = head.mouth
    across, down = u * (1 / (grow * half)), (v - centre) * (1 / (1.9 * lip))
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
    head, u, v, layer = photo.head, photo.u, photo.v, photo.layer
    size = len(layer)
    face = np.abs(layer) + layer
    face *= 0.5  # hair is not displaced
    moved_u, moved_v = other.warp.forward(u, v, face)
    radius = head.hair_radius + face * (1 - head.hair_radius)
    s, t, cosine = chart_to_disc(head, other.shot, moved_u, moved_v, radius)
    x, y = head_to_screen(head, other.shot, s, t)
    half = 0.5 * other.layer.shape[1]
    shown = _lookup(other.layer, x * half + (half - 0.5), y * half + (half - 0.5))
    shown *= layer
    visible = (shown > 0.7) & (cosine > GRAZING)  # the same layer lies on top here and there
    flow = np.empty((2, size, size), np.float32)
    flow[0], flow[1] = pixel_grid(size)
    np.copyto(flow[0], x, where=visible)
    np.copyto(flow[1], y, where=visible)

    selected = visible.copy()
    ours, theirs = photo.shot, other.shot
    if abs(ours.eyes - theirs.eyes) > 0.1:
        selected &= ~(eye_zone(head, u, v) & (layer > 0))
    if abs(ours.mouth - theirs.mouth) > 0.15 or abs(ours.smile - theirs.smile) > 0.5:
        selected &= ~(mouth_zone(head, u, v) & (layer > 0))
    return flow, visible, selected
