"""Painting a face: skin, lips, eyes, marks and relief, as textures of the canonical plane.

Pictures in the making are planar, (3, h, w) float32 RGB; `texels` packs them for the renderer.
"""

from functools import lru_cache

import cv2
import numpy as np

from .head_geometry import CHART_HALF, Head

_F = np.float32
IRISES = ((0.25, 0.14, 0.07), (0.42, 0.27, 0.12), (0.30, 0.45, 0.62), (0.33, 0.47, 0.27), (0.45, 0.50, 0.55))


class Canvas:
    """Grid of a texture: `u` (1, w) and `v` (h, 1) in canonical units, `density` texels per unit."""

    def __init__(self, density: float):
        self.density = density
        self.width, self.height = (int(np.ceil(2 * half * density)) for half in CHART_HALF)
        self.u = ((np.arange(self.width, dtype=_F) + _F(0.5)) / _F(density) - _F(CHART_HALF[0]))[None]
        self.v = ((np.arange(self.height, dtype=_F) + _F(0.5)) / _F(density) - _F(CHART_HALF[1]))[:, None]

    def window(self, u: float, v: float, half_u: float, half_v: float) -> tuple[slice, slice]:
        """Return rows and columns of a box around a canonical point."""
        column, row = (u + CHART_HALF[0]) * self.density, (v + CHART_HALF[1]) * self.density
        dx, dy = half_u * self.density + 1, half_v * self.density + 1
        return slice(max(0, int(row - dy)), int(row + dy) + 1), slice(max(0, int(column - dx)), int(column + dx) + 1)

    def points(self, uv: np.ndarray) -> np.ndarray:
        """Convert canonical points (..., 2) to OpenCV's fixed-point pixels (3 fractional bits)."""
        return np.round(((np.asarray(uv) + CHART_HALF) * self.density - 0.5) * 8.0).astype(np.int32)

    def blank(self) -> np.ndarray:
        """Return an empty 8-bit drawing (h, w)."""
        return np.zeros((self.height, self.width), np.uint8)

    def strokes(self, lines: np.ndarray, thickness: float, ink: np.ndarray) -> None:
        """Draw polylines (k, points, 2) of a thickness in canonical units."""
        wide = max(1, round(thickness * self.density))
        cv2.polylines(ink, list(self.points(lines)), False, 255, wide, cv2.LINE_AA, 3)

    def noise(self, rng: np.random.Generator, cells: float) -> np.ndarray:
        """Draw smooth noise (h, w) with `cells` independent values per canonical unit."""
        columns, rows = (int(2 * half * cells) + 4 for half in CHART_HALF)
        return smooth_noise(rng.standard_normal((rows, columns), dtype=_F), self.height, self.width)


canvas = lru_cache(maxsize=8)(Canvas)


@lru_cache(maxsize=64)
def _spline(cells: int, length: int) -> np.ndarray:
    """Return the matrix of a cubic interpolation (Catmull-Rom) from `cells` values to `length`."""
    place = np.linspace(1, cells - 2.001, length)[:, None]
    x = np.abs(place - np.arange(cells)[None])
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0)).astype(_F)


def smooth_noise(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarge cubically (..., rows, columns), at least 4 of each, to (..., height, width)."""
    return _spline(coarse.shape[-2], height) @ coarse @ _spline(coarse.shape[-1], width).T


def texels(planes: np.ndarray) -> np.ndarray:
    """Convert (n, h, w) in [0, 1] to (h, w, n) uint8."""
    return cv2.merge([np.rint(np.clip(plane * 255, 0, 255)).astype(np.uint8) for plane in planes])


def gauss(x: np.ndarray, centre: float, sigma: float) -> np.ndarray:
    """Return a bell curve of height 1."""
    off = (x - _F(centre)) * _F(1 / sigma)
    return np.exp(_F(-0.5) * off * off)


def blend(image: np.ndarray, alpha: np.ndarray, colour, brightness: np.ndarray | float = 1.0) -> None:
    """Lay a colour (3,), brightened (h, w), over an image (3, h, w) with an opacity (h, w), in place."""
    for plane, value in zip(image, np.asarray(colour).tolist(), strict=True):
        plane += alpha * (value * brightness - plane)


def skin(head: Head, on: Canvas, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint skin (3, h, w): blotches and pattern, flushed cheeks, shaded sockets and nose."""
    u, v = on.u, on.v
    both, (wing, tip) = np.abs(u), head.nose
    tone = 1 + _F(0.035) * on.noise(rng, 5.0) + _F(0.045 * rng.uniform(0.5, 1.3)) * on.noise(rng, 15.0)
    flush = gauss(v, 0.2, 0.15) * (gauss(both, 0.42, 0.16) * _F(0.16 * rng.uniform(0.3, 1.0)))
    flush += gauss(v, tip, 0.07) * (_F(0.12) * gauss(u, 0, 0.08))
    shade = gauss(v, head.eye[1] + 0.03, 0.07) * (gauss(both, head.eye[0], 0.12) * _F(0.2 * rng.uniform(0.4, 1.2)))
    shade += gauss(v, tip + 0.085, 0.022) * (_F(0.25) * gauss(u, 0, wing * 0.9))
    shade += gauss(v, tip + 0.06, 0.016) * (_F(0.75) * gauss(both, 0.5 * wing, 0.026))
    shade += gauss(v, tip + 0.03, 0.045) * (_F(0.2) * gauss(both, wing + 0.012, 0.014))
    shade += gauss(v, 1.2, 0.2) * _F(0.25)
    keep = 1 - shade
    return np.stack([tone * _F(c) * (keep - _F(f) * flush) for c, f in zip(colour, (0.1, 1.0, 0.9), strict=True)])


def lips(image: np.ndarray, head: Head, on: Canvas, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Paint lips with a person's cupid's bow and fine lines; closed."""
    half, centre, lip = head.mouth
    rows, columns = on.window(0.0, centre, half * 1.1, lip * 2)
    u, v = on.u[:, columns] * _F(1 / half), on.v[rows] - _F(centre)
    arch = np.sqrt(np.clip(1 - u * u, 0, 1))
    bow = _F(lip) * arch * (1 - _F(rng.uniform(0.1, 0.35)) * gauss(u, 0, 0.16)) * (_F(0.8) + _F(0.2) * arch)
    edge = np.where(v < 0, bow * _F(0.85) + v, bow * _F(1.1) - v) * _F(on.density)
    alpha = np.clip(edge * _F(0.7), 0, 1) * _F(rng.uniform(0.6, 0.95))
    tint = colour * _F([0.88, 0.56, 0.58]) * _F(rng.uniform(0.85, 1.1))
    lines = 1 + 0.16 * np.interp(u, np.linspace(-1, 1, 25), rng.standard_normal(25)).astype(_F)
    patch = image[:, rows, columns]
    patch += alpha * (lines * tint[:, None, None] - patch)
    patch *= 1 - _F(0.72) * gauss(v, 0, 0.012) * np.clip((_F(1.03) - np.abs(u)) * 12, 0, 1)


def eyes(image: np.ndarray, head: Head, on: Canvas, rng: np.random.Generator) -> None:
    """Paint open eyes: an iris with rim, spokes and inner ring of its own, lashes, crease."""
    half_u, half_v = head.eye_half
    colour = np.asarray(IRISES[rng.integers(len(IRISES))])
    outer, inner = np.clip(colour * rng.uniform(0.8, 1.25, (2, 3)), 0, 1)
    if rng.random() < 0.4:
        inner = np.asarray([0.55, 0.38, 0.15]) * rng.uniform(0.7, 1.2)
    spokes, phase, ring = int(rng.integers(4, 10)), rng.uniform(0, 6.28), rng.uniform(0.55, 0.72)
    tilt, iris = _F(rng.uniform(-0.12, 0.2)), 0.95 * half_v + 0.006
    for side in (-1, 1):
        rows, columns = on.window(side * head.eye[0], head.eye[1], half_u * 1.4, half_v * 2.2)
        du = side * (on.u[:, columns] - _F(side * head.eye[0]))  # towards the temple
        dv = on.v[rows] - _F(head.eye[1]) + tilt * du
        across = np.maximum(1 - (du * _F(1 / half_u)) ** 2, 0)
        upper, lower = dv + _F(half_v) * across, _F(0.72 * half_v) * across**0.8 - dv
        shift = dv + _F(0.12 * half_v)
        reach = (iris - np.sqrt(du * du + shift * shift)) * _F(on.density) + _F(0.5)  # texels inside the iris' rim
        ball = _F([0.92, 0.90, 0.88])[:, None, None] * (1 - _F(0.35) * np.clip(1 - upper * _F(1.4 / half_v), 0, 1))

        def disc(share: float, reach: np.ndarray = reach) -> np.ndarray:
            return np.clip(reach - _F((1 - share) * iris * on.density), 0, 1)

        body = disc(0.86)
        blend(ball, disc(1.0), outer * 0.35)
        blend(ball, body, outer * 0.8)
        blend(ball, body * (_F(0.25) + _F(0.25) * np.cos(_F(spokes) * np.arctan2(dv, du) + _F(phase))), outer * 1.5)
        blend(ball, disc(ring), inner)
        blend(ball, disc(0.38), (0.03, 0.03, 0.03))
        patch = image[:, rows, columns]
        patch *= 1 - _F(0.35) * gauss(dv + _F(half_v) * (across + _F(0.42)), 0, 0.01) * np.clip(across * 2, 0, 1)
        patch += np.clip(np.minimum(upper, lower) * _F(on.density) + _F(0.5), 0, 1) * (ball - patch)
        lash = _F(0.88) * gauss(upper, 0, 0.012) + _F(0.4) * gauss(lower, 0, 0.009)
        patch *= 1 - np.minimum(lash, _F(0.9)) * (np.abs(du) < half_u * 1.01)


def _bare(rng: np.random.Generator, head: Head, count: int) -> np.ndarray:
    """Draw canonical points (at most `count`, 2) of bare skin: not on eyes, brows or lips."""
    points = np.stack([rng.uniform(-0.85, 0.85, count), rng.uniform(-0.68, 1.0, count)], -1)
    u, v = np.abs(points[:, 0]), points[:, 1]
    inside = (u / 0.85) ** 2 + ((v - 0.1) / 0.92) ** 2 < 1
    eye = ((u - head.eye[0]) / (head.eye_half[0] + 0.05)) ** 2 + ((v - head.eye[1]) / 0.13) ** 2 < 1
    brow = (np.abs(u - head.brow[0]) < 0.2) & (np.abs(v - head.brow[1]) < 0.09)
    mouth = (u / (head.mouth[0] + 0.05)) ** 2 + ((v - head.mouth[1]) / (2 * head.mouth[2])) ** 2 < 1
    return points[inside & ~eye & ~brow & ~mouth]


def marks(image: np.ndarray, head: Head, on: Canvas, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Paint freckles and wrinkles, a scar, and moles on top."""
    ink = on.blank()
    if rng.random() < 0.6:
        points = _bare(rng, head, int(rng.integers(60, 240)))
        spread = rng.uniform(0.15, 0.5)
        points = points[rng.random(len(points)) < np.exp(-0.5 * ((points[:, 1] - 0.12) / spread) ** 2)]
        radii = 8 * on.density * rng.uniform(0.007, 0.015, len(points))
        shades = rng.integers(90, 210, len(points)).tolist()
        for centre, radius, shade in zip(on.points(points).tolist(), radii, shades, strict=True):
            cv2.circle(ink, centre, max(4, round(radius)), shade, -1, cv2.LINE_AA, 3)
    depth = ink.astype(_F) * _F(rng.uniform(0.4, 0.6) / 200)
    lines = _wrinkles(head, rng)
    if lines:
        ink = on.blank()
        on.strokes(np.stack(lines), 0, ink)
        depth += ink.astype(_F) * _F(rng.uniform(0.2, 0.4) / 255)
    for plane, share in zip(image, (0.62, 0.9, 1.0), strict=True):
        plane *= 1 - _F(share) * depth
    if rng.random() < 0.35:
        centre, angle, length = _bare(rng, head, 40)[0], rng.uniform(0, np.pi), rng.uniform(0.08, 0.2)
        reach = np.linspace(-0.5, 0.5, 6)[:, None] * length * np.asarray([np.cos(angle), np.sin(angle)])
        ink = on.blank()
        on.strokes((centre + reach + rng.uniform(-0.01, 0.01, (6, 2)))[None], 0.022, ink)
        box = on.window(*centre, 0.15, 0.15)
        pale = np.minimum(colour * _F([1.1, 0.92, 0.9]) + _F(0.12), 1)
        blend(image[:, box[0], box[1]], ink[box].astype(_F) * _F(0.65 / 255), pale)
    ink = on.blank()
    spots = _bare(rng, head, 80)[: int(rng.integers(10, 23))]
    radii = 8 * on.density * (0.03 + 0.034 * rng.beta(1.2, 2.0, len(spots)))
    shades, turns = rng.integers(150, 250, len(spots)).tolist(), rng.uniform(0, 180, len(spots)).tolist()
    for centre, radius, shade, turn in zip(on.points(spots).tolist(), radii, shades, turns, strict=True):
        axes = max(4, round(radius)), max(4, round(radius * rng.uniform(0.75, 1.0)))
        cv2.ellipse(ink, centre, axes, turn, 0, 360, shade, -1, cv2.LINE_AA, 3)
    blend(image, ink.astype(_F) * _F(1 / 255), colour * _F([0.32, 0.22, 0.19]))


def _wrinkles(head: Head, rng: np.random.Generator) -> list[np.ndarray]:
    lines = []
    for _ in range(int(rng.integers(0, 4))):  # forehead
        u = np.linspace(-0.4, 0.4, 7) * rng.uniform(0.5, 1.0) + rng.uniform(-0.1, 0.1)
        lines.append(np.stack([u, rng.uniform(-0.62, -0.4) + 0.1 * u * u + rng.uniform(-0.012, 0.012, 7)], -1))
    for side in (-1, 1):
        if rng.random() < 0.5:  # nose to mouth
            u = head.nose[0] + 0.05 + 0.11 * np.linspace(0, 1, 7) ** 0.8
            lines.append(np.stack([side * u, np.linspace(head.nose[1], head.mouth[1] + 0.05, 7)], -1))
        if rng.random() < 0.5:  # crow's feet
            reach = np.linspace(0.02, 0.13, 7)
            u = side * (head.eye[0] + head.eye_half[0] + reach)
            lines += [np.stack([u, head.eye[1] + turn * reach], -1) for turn in rng.uniform(-0.6, 0.6, 3)]
    return lines


def relief(head: Head, on: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Return the slopes of the face over the sphere, (h, w, 2) float32: towards +U and +V."""
    u, v = on.u, on.v
    both, (wing, tip), (mouth_w, mouth_v, lip) = np.abs(u), head.nose, head.mouth
    power = rng.uniform(0.8, 1.2, 8).tolist()
    bridge = np.exp(-0.5 * (np.minimum(v - _F(tip - 0.1), 0) * _F(1 / 0.13)) ** 2) * np.clip(
        (tip + 0.03 - v) * 30, 0, 1
    )
    height = bridge * (_F(0.08 * power[0]) * gauss(u, 0, 0.05))
    for amount, (cu, cv), (su, sv) in (
        (0.08 * power[1], (0, tip - 0.01), (0.065, 0.055)),
        (0.04 * power[2], (wing - 0.02, tip + 0.02), (0.04, 0.04)),
        (0.045 * power[3], (head.brow[0] - 0.02, head.brow[1] + 0.02), (0.14, 0.06)),
        (-0.055 * power[4], (head.eye[0] - 0.05, head.eye[1] - 0.02), (0.10, 0.08)),
        (0.022, head.eye, (0.075, 0.05)),
        (0.05 * power[5], (0.4, 0.17), (0.15, 0.13)),
        (0.028, (0, mouth_v - 0.6 * lip), (0.7 * mouth_w, 0.5 * lip)),
        (0.036, (0, mouth_v + 0.75 * lip), (0.6 * mouth_w, 0.55 * lip)),
        (-0.022, (0, mouth_v), (0.8 * mouth_w, 0.018)),
        (-0.025, (0, mouth_v + 2.6 * lip), (0.12, 0.04)),
        (0.05 * power[6], (0, 0.8), (0.17, 0.12)),
        (-0.012, (0, 0.5 * (tip + 0.06 + mouth_v - lip)), (0.018, 0.05)),
    ):
        height += gauss(v, cv, sv) * (_F(amount) * gauss(both if cu else u, cu, su))
    height += _F(0.004) * on.noise(rng, 3.0)
    slope_v, slope_u = np.gradient(height, _F(1 / on.density))
    return cv2.merge([slope_u.astype(_F), slope_v.astype(_F)])
