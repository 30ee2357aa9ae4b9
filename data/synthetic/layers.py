"""What one photo adds to a person: surroundings, lids and mouth, glasses, things in front of the face."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .face import Head, Shot, disc_to_chart, pixel_grid, screen_to_head
from .identity import Identity
from .paint import smooth_noise

_F = np.float32
_WARM = _F([1.05, 0.92, 0.88])  # ears and a shaded neck are a little redder than the face


class Sphere:
    """Pixels of a photo in the plane of the head's disc: points (s, t, depth), distance from the disc's centre."""

    def __init__(self, head: Head, shot: Shot, size: int):
        self._of = head, shot
        self.points = np.empty((3, size, size), _F)
        self.points[0], self.points[1] = screen_to_head(head, shot, pixel_grid(size))
        self.square = self.points[0] * self.points[0]
        self.square += self.points[1] * self.points[1]
        self.reach = np.sqrt(self.square)

    def part(self, rows: slice) -> Sphere:
        """The same for some rows."""
        part = object.__new__(Sphere)
        part._of, part.points = self._of, self.points[:, rows]
        part.square, part.reach = self.square[rows], self.reach[rows]
        return part

    def front(self, radius: float) -> np.ndarray:
        """Points (3, H, W) of a sphere's front; the depth is mirrored beyond the silhouette, to stay continuous."""
        depth = self.square - radius * radius
        np.sqrt(np.abs(depth, out=depth), out=self.points[2])
        return self.points

    def chart(self, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """Canonical plane, still displaced, of a sphere's front."""
        return disc_to_chart(*self._of, self.front(radius), radius)

    def cover(self, radius: float, pixel: float) -> np.ndarray:
        """Share of each pixel that a sphere covers; `pixel` is the number of pixels in a unit of s."""
        inside = self.reach * -pixel
        inside += radius * pixel + 0.5
        return unit(inside)


def unit(x: np.ndarray) -> np.ndarray:
    """Clips to [0, 1] in place."""
    return np.clip(x, 0, 1, out=x)


def mix(image: np.ndarray, alpha: np.ndarray, over: np.ndarray) -> None:
    """Lays a picture (3, H, W) over an image (3, H, W) with an opacity (H, W), in place; spends `over`."""
    for plane, top in zip(image, over, strict=True):
        top -= plane
        top *= alpha
        plane += top


def surroundings(person: Identity, shot: Shot, sphere: Sphere, rng: np.random.Generator) -> np.ndarray:
    """What lies behind the face (3, h, w): background, hair, neck, clothes, ears."""
    head, (s, t, _), half = person.head, sphere.points, len(sphere.reach)
    edge = head.half_width * shot.scale * half / 2
    yaw, pitch = math.sin(shot.yaw), math.sin(shot.pitch)
    middle = s - 0.1 * yaw
    across, square = np.abs(middle), middle * middle
    layers = []  # (opacity, brightness, colour), from back to front
    if person.mane_end is not None:
        above = t - np.abs(t)
        outline = np.minimum(head.hair_radius - np.sqrt(0.25 * above * above + square), person.mane_end - t)
        layers.append((unit(outline * edge + 0.5), 0.55, person.hair))
    below = np.clip(t - 0.9, 0, 1)
    neck = unit(np.minimum(0.56 - across + below * below, t) * edge + 0.5)
    layers.append((neck, 0.5 + 0.6 * below - 0.1 * square, person.skin * _WARM))
    cloth = rng.uniform(0.1, 0.8) + rng.normal(0, 0.1, 3)
    layers.append((unit((t - 0.2 * across - 1.1) * edge + 0.5), 1 - 0.25 * across, cloth))

    beside = s + 0.12 * yaw  # an ear on either side, wider on the side that is turned here
    away = np.abs(beside) - (0.99 * math.cos(shot.yaw) + 0.02)
    away *= 7.7 - 4.5 * yaw * np.sign(beside)
    down = t * (1 / 0.24) - (0.05 - 0.25 * pitch) / 0.24
    distance = np.sqrt(away * away + down * down)
    ears = unit((edge * 0.13 + 0.5) - distance * (edge * 0.13))
    layers.append((ears, np.clip(0.5 * distance + 0.45, 0.5, 0.9), person.skin * _WARM))

    coarse = rng.standard_normal((4, 5, 5), dtype=_F)
    studio = rng.uniform(0.38, 0.6) + rng.normal(0, 0.04, (3, 1, 1)).astype(_F)
    coarse = 0.015 * coarse[:3] + 0.04 * coarse[3] + studio
    background, clear, weights = smooth_noise(coarse, half, half), 1.0, []
    for opacity, brightness, _ in reversed(layers):
        weights.append(clear * opacity * brightness)
        clear = clear * (1 - opacity)
    background *= clear
    colours = np.asarray([colour for *_, colour in reversed(layers)], _F).T
    background += (colours @ np.stack(weights).reshape(len(layers), -1)).reshape(background.shape)
    return background


def _paste(image: np.ndarray, alpha: np.ndarray, colour: np.ndarray, tone: np.ndarray | float = 1.0) -> None:
    """Lays a colour (3,), brightened by tone (H, W), over an image (3, H, W) with an opacity (H, W), in place."""
    for plane, value in zip(image, np.asarray(colour).tolist(), strict=True):
        plane += alpha * (value * tone - plane)


def expression(whole: np.ndarray, person: Identity, shot: Shot, all_u, all_v, light, soft: float) -> np.ndarray:
    """Lids and the inside of the mouth over the static texture (3, H, W); returns where the mouth's inside shows."""
    head = person.head
    inside = np.zeros(all_u.shape, bool)
    if shot.eyes < 0.99:
        half_u, half_v = head.eye_half
        rows = band(all_v, head.eye[1], 0.1)
        skin, u, v = whole[:, rows], all_u[rows], all_v[rows]
        du, dv = (np.abs(u) - head.eye[0]) * (1 / half_u), v - head.eye[1]
        across = np.maximum(1 - du * du * 0.86, 0)
        line = across * (half_v * (0.75 - 1.75 * shot.eyes))
        lid = unit((line - dv) * soft + 0.5) * unit((dv + 1.25 * half_v * across) * soft)
        _paste(skin, lid * (across > 0), person.skin * 0.88, light[rows])
        off = (dv - line) * (1 / 0.016)
        skin *= 1 - 0.8 * np.exp(-off * off) * np.minimum(across * 3, 1)
    if shot.mouth < 0.02:
        return inside
    half, centre, lip = head.mouth
    rows = band(all_v, centre, 0.08)
    skin, u, v = whole[:, rows], all_u[rows], all_v[rows]
    reach = u * (1 / (0.92 * half))
    across = np.maximum(1 - reach * reach, 0)
    gap = (0.62 * lip * min(1.0, 0.35 + shot.mouth)) * np.sqrt(across)
    down = v - centre
    gape = unit((gap - np.abs(down)) * soft * 1.3 + 0.5) * (across > 0)
    teeth = unit((-down - gap * 0.15) * soft * 1.5 + 0.5) * unit(across * 2 - 0.4)
    dark, white = _F([(0.24, 0.07, 0.07), (0.86, 0.83, 0.79)])[..., None, None]
    mix(skin, gape, (dark + teeth * (white - dark)) * light[rows])
    inside[rows] = gape > 0.02
    return inside


def band(v: np.ndarray, centre: float, half: float) -> slice:
    """Rows of a map of V that can lie within `half` of `centre`."""
    near = np.flatnonzero(np.abs(v[:, v.shape[1] // 2] - centre) < 2.5 * half)
    return slice(near[0], near[-1] + 1) if len(near) else slice(0)


def glasses(
    image: np.ndarray, head: Head, u, v, on_face: np.ndarray, soft: float, rng: np.random.Generator
) -> np.ndarray:
    """Glasses on the undisplaced face, over the image (3, H, W); returns what they cover (H, W) bool."""
    wide, high = rng.uniform(0.19, 0.22), rng.uniform(0.13, 0.17)
    side = np.abs(u)
    du, dv = (side - head.eye[0]) * (1 / wide), (v - (head.eye[1] + 0.02)) * (1 / high)
    du *= du
    dv *= dv
    ring = np.sqrt(du + dv) if rng.random() < 0.5 else np.sqrt(np.sqrt(du * du + dv * dv))
    rim = unit((0.016 - np.abs(ring - 1) * min(wide, high)) * soft + 0.5)
    bar = np.clip((0.014 - np.abs(v - (head.eye[1] - 0.03))) * soft + 0.5, 0, 1)
    between = (side < head.eye[0] - wide) | (side > head.eye[0] + wide)
    frame = np.maximum(rim, bar * between) * on_face
    lens = (ring < 1) & (on_face > 0.5)
    image -= lens * (0.14 * image - rng.uniform(0.02, 0.1))
    _paste(image, frame, np.full(3, rng.uniform(0.02, 0.3)))
    return lens | (frame > 0.02)


def occluder(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand-like or cloth-like soft shape that reaches in from the border; returns what it covers (H, W) bool."""
    size = image.shape[1]
    mask = np.zeros((size, size), np.uint8)
    angle, near = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.3)
    out = math.cos(angle), math.sin(angle)
    ends = [[int(8 * size * (0.5 + far * axis)) for axis in out] for far in (near, 0.9)]
    cv2.line(mask, *ends, 255, max(2, int(size * rng.uniform(0.06, 0.2))), cv2.LINE_AA, 3)
    alpha = cv2.blur(mask, (3, 3)).astype(_F)
    alpha *= 1 / 255
    colour = np.clip(rng.uniform(0.2, 0.75) + rng.normal(0, 0.1, 3), 0.05, 0.9)
    x, y, _ = pixel_grid(size)
    _paste(image, alpha, colour, 0.9 + 0.4 * (y * out[0] - x * out[1]))
    return alpha > 0.02
