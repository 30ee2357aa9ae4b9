"""What one photo adds to a person: surroundings, light, lids and mouth, glasses, an occluder."""

import math

import cv2
import numpy as np

from .head_geometry import Head, Shot, screen_grid
from .identity import Identity
from .paint import blend, smooth_noise

_F = np.float32
_WARM = _F([1.05, 0.92, 0.88])  # ears and a shaded neck are a little redder than the face
_DARK, _TEETH = _F([0.24, 0.07, 0.07])[:, None, None], _F([0.86, 0.83, 0.79])[:, None, None]  # inside of the mouth


def unit(x: np.ndarray) -> np.ndarray:
    """Clip an array to [0, 1], in place."""
    return np.clip(x, 0, 1, out=x)


def surroundings(person: Identity, shot: Shot, s: np.ndarray, t: np.ndarray, edge: float, rng: np.random.Generator):
    """Paint what lies behind the face, (3, h, h) float32 RGB: studio, hair, neck, clothes, ears.

    `s` and `t` (h, h) are positions on the head's disc, `edge` is the number of pixels in a unit of s.
    """
    cloth = rng.uniform(0.1, 0.8) + rng.normal(0, 0.1, 3)
    coarse = rng.standard_normal((4, 5, 5), dtype=_F)
    studio = rng.uniform(0.38, 0.6) + rng.normal(0, 0.04, (3, 1, 1)).astype(_F)
    image = smooth_noise(_F(0.015) * coarse[:3] + _F(0.04) * coarse[3] + studio, *s.shape)

    yaw, pitch = math.sin(shot.yaw), math.sin(shot.pitch)
    middle = s - 0.1 * yaw
    across, square, below, above = np.abs(middle), middle * middle, np.clip(t - 0.9, 0, 1), np.minimum(t, 0)
    hair = np.minimum(person.head.hair_radius - np.sqrt(above * above + square), person.mane_end - t)
    neck = np.minimum(0.56 - across + below * below, t)
    clothes = t - 0.2 * across - 1.1
    beside = s + 0.12 * yaw  # an ear on either side, wider on the side that is turned here
    away = (np.abs(beside) - (0.99 * math.cos(shot.yaw) + 0.02)) * (
        7.7 - 4.5 * yaw * np.where(beside > 0, _F(1), _F(-1))
    )
    down = (t - (0.05 - 0.25 * pitch)) * (1 / 0.24)
    distance = np.sqrt(away * away + down * down)
    for outline, brightness, colour in (  # from back to front
        (hair, 0.55, person.hair),
        (neck, 0.5 + 0.6 * below - 0.1 * square, person.skin * _WARM),
        (clothes, 1 - 0.25 * across, cloth),
        ((1 - distance) * 0.13, np.clip(0.5 * distance + 0.45, 0.5, 0.9), person.skin * _WARM),
    ):
        blend(image, unit(outline * edge + 0.5), colour, brightness)
    return image


def shade(shot: Shot, x: np.ndarray, y: np.ndarray, z: np.ndarray, gloss: float) -> np.ndarray:
    """Return wrapped diffuse light and a broad highlight, for unnormalised normals in the camera's axes.

    With n the normal, l the light and h half-way between light and camera:
    ``1 + contrast * (0.205 * (1 + n.l)^2 - 0.66) + gloss * (n.h)^16``.
    """
    norm = 1 / np.sqrt(x * x + y * y + z * z)
    light = shot.light
    towards = (x * light[0] + y * light[1] + z * light[2]) * norm
    shine = (towards + z * norm) * (1 / math.sqrt(2 + 2 * light[2]))
    for _ in range(4):
        shine *= shine
    wrap = (1 + towards) * (1 + towards)
    return 1 + shot.contrast * (0.205 * wrap - 0.66) + (gloss * shot.gloss) * shine


def close_eyes(skin: np.ndarray, u: np.ndarray, v: np.ndarray, person: Identity, shot: Shot, soft: float) -> None:
    """Draw lids over the unlit face (3, H, W), in place.

    A lid's edge is a parabola between the corners of the eye, high when the eye is open and low when it is closed.
    `u` and `v` (H, W) are canonical coordinates of what the pixels show; `soft` is the number of pixels in their unit.
    """
    (eye_u, eye_v), (half_u, half_v) = person.head.eye, person.head.eye_half
    rows = _rows_near(v, eye_v, 0.2)
    skin, u, v = skin[:, rows], u[rows], v[rows]
    du, dv = (np.abs(u) - eye_u) * (1 / half_u), v - eye_v
    across = 1 - 0.86 * du * du
    across *= (across > 0) & (np.abs(dv) <= 0.2)
    line = across * (half_v * (0.75 - 1.75 * shot.eyes))
    closed = unit((line - dv) * soft + 0.5) * unit((dv + 1.25 * half_v * across) * soft) * (across > 0)
    off = (dv - line) * (1 / 0.016)
    blend(skin, closed, _F(0.88) * person.skin)
    skin *= 1 - 0.8 * np.exp(-off * off) * np.minimum(3 * across, 1)


def open_mouth(skin: np.ndarray, u: np.ndarray, v: np.ndarray, head: Head, shot: Shot, soft: float) -> np.ndarray:
    """Draw the inside of the mouth over the unlit face (3, H, W), in place; return where it shows, (H, W) bool.

    It is an ellipse; the arguments are those of `close_eyes`.
    """
    half, centre, lip = head.mouth
    shows = np.zeros(u.shape, bool)
    rows = _rows_near(v, centre, 0.2)
    skin, u, down = skin[:, rows], u[rows], v[rows] - centre
    reach = u * (1 / (0.92 * half))
    across = 1 - reach * reach
    across *= (across > 0) & (np.abs(down) <= 0.2)
    gap = (0.62 * lip * min(1.0, 0.35 + shot.mouth)) * np.sqrt(across)
    teeth = unit((-down - 0.15 * gap) * (1.5 * soft) + 0.5) * unit(2 * across - 0.4)
    opening = unit((gap - np.abs(down)) * (1.3 * soft) + 0.5) * (across > 0)
    skin += opening * (_DARK + teeth * (_TEETH - _DARK) - skin)
    shows[rows] = opening > 0.02
    return shows


def _rows_near(v: np.ndarray, centre: float, half: float) -> slice:
    """Return the rows that can hold points within `half` of a height; rows of a photo are turned by its roll."""
    near = np.flatnonzero((np.abs(v - centre) <= half).any(axis=1))
    return slice(near[0], near[-1] + 1) if len(near) else slice(0)


def wear_glasses(
    image: np.ndarray, u: np.ndarray, v: np.ndarray, face: np.ndarray, head: Head, shot: Shot, rng: np.random.Generator
) -> np.ndarray:
    """Draw random glasses over an image (3, H, W) where the face is seen (H, W), in place; return what they cover.

    A lens is a superellipse of exponent 2 or 4, bridge and temples are a bar. `u` and `v` (H, W) are displaced
    canonical coordinates: glasses do not move with the expression.
    """
    wide, high, is_round = rng.uniform(0.19, 0.22), rng.uniform(0.13, 0.17), rng.random() < 0.5
    lens_light, frame_light = rng.uniform(0.02, 0.1), rng.uniform(0.02, 0.3)
    soft = image.shape[1] / 2
    side = np.abs(u)
    du, dv = (side - head.eye[0]) * (1 / wide), (v - head.eye[1] - 0.02) * (1 / high)
    du, dv = du * du, dv * dv
    ring = np.sqrt(du + dv if is_round else np.sqrt(du * du + dv * dv))
    rim = unit((0.016 - np.abs(ring - 1) * min(wide, high)) * soft + 0.5)
    bar = unit((0.014 - np.abs(v - head.eye[1] + 0.03)) * soft + 0.5) * (np.abs(side - head.eye[0]) > wide)
    frame, lens = np.maximum(rim, bar) * face, (ring < 1) & face
    tint = np.asarray(shot.tint)
    image += lens * ((tint * lens_light).astype(_F)[:, None, None] - _F(0.14) * image)
    blend(image, frame, tint * frame_light)
    return lens | (frame > 0.02)


def occlude_photo(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a hand-like or cloth-like soft shape that reaches in from the border; return what it covers (H, W) bool."""
    size = image.shape[1]
    mask = np.zeros((size, size), np.uint8)
    angle, near = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.3)
    out = math.cos(angle), math.sin(angle)
    ends = [[int(8 * size * (0.5 + far * axis)) for axis in out] for far in (near, 0.9)]
    cv2.line(mask, *ends, 255, max(2, int(size * rng.uniform(0.06, 0.2))), cv2.LINE_AA, 3)
    opacity = cv2.blur(mask, (3, 3)).astype(_F)
    opacity *= 1 / 255
    colour = np.clip(rng.uniform(0.2, 0.75) + rng.normal(0, 0.1, 3), 0.05, 0.9)
    x, y = screen_grid(size, size)
    blend(image, opacity, colour, 0.9 + 0.4 * (y * out[0] - x * out[1]))
    return opacity > 0.02
