"""Who: a person drawn from (seed, index), with everything static painted into a texture of the canonical plane.

Identity lies on purpose in fine detail that a degradation destroys (moles, freckles, scars, brow strokes, irises,
skin pattern, wrinkles, stubble) on top of the coarse traits (skin, hair, face shape) that it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .synthetic_face import CHART_HALF, Head, warp_basis

TEXELS_PER_PIXEL = 1.4
_SKINS = np.float32(
    [[0.96, 0.80, 0.71], [0.91, 0.72, 0.59], [0.80, 0.60, 0.45], [0.62, 0.43, 0.31], [0.43, 0.29, 0.22]]
)
_HAIRS = np.float32(
    [
        [0.09, 0.07, 0.07],
        [0.20, 0.13, 0.10],
        [0.36, 0.23, 0.14],
        [0.72, 0.55, 0.32],
        [0.55, 0.25, 0.12],
        [0.62, 0.61, 0.60],
    ]
)
_IRISES = np.float32(
    [[0.25, 0.14, 0.07], [0.42, 0.27, 0.12], [0.30, 0.45, 0.62], [0.33, 0.47, 0.27], [0.45, 0.50, 0.55]]
)


@dataclass(frozen=True)
class Identity:
    """A person: shape, and textures over the canonical plane (rows V, columns U)."""

    head: Head
    basis: np.ndarray  # (7, 2, cells, cells) displacements of the expressions
    skin: np.ndarray  # (3,) RGB
    hair: np.ndarray  # (3,) RGB
    albedo: np.ndarray  # (h, w, 3) float32 RGB in [0, 1], eyes open, mouth closed
    relief: np.ndarray  # (h/2, w/2, 2) float32 slopes of the skin towards +U and +V
    mane: np.ndarray  # (h, w, 4) float32 RGB and opacity of the hair on its own sphere
    long_hair: bool


class _Canvas:
    """Grid of a texture: ``u`` (1, w) and ``v`` (h, 1) in canonical units, ``density`` texels per unit."""

    def __init__(self, density: float):
        self.density = density
        self.width, self.height = (int(np.ceil(2 * half * density)) for half in CHART_HALF)
        self.u = ((np.arange(self.width, dtype=np.float32) + 0.5) / density - CHART_HALF[0])[None]
        self.v = ((np.arange(self.height, dtype=np.float32) + 0.5) / density - CHART_HALF[1])[:, None]

    def window(self, u: float, v: float, half_u: float, half_v: float) -> tuple[slice, slice]:
        column, row = (u + CHART_HALF[0]) * self.density, (v + CHART_HALF[1]) * self.density
        dx, dy = half_u * self.density + 1, half_v * self.density + 1
        return (
            slice(max(0, int(row - dy)), min(self.height, int(row + dy) + 1)),
            slice(max(0, int(column - dx)), min(self.width, int(column + dx) + 1)),
        )

    def points(self, uv: np.ndarray) -> np.ndarray:
        """Canonical points (..., 2) to OpenCV's fixed-point pixels (3 fractional bits)."""
        return np.round(((np.asarray(uv) + CHART_HALF) * self.density - 0.5) * 8.0).astype(np.int32)


@lru_cache(maxsize=4)
def _canvas(density: float) -> _Canvas:
    return _Canvas(density)


@lru_cache(maxsize=4)
def _strand_map(density: float) -> tuple[np.ndarray, np.ndarray]:
    """Polar coordinates about the crown for hair strands: (angle in turns, distance)."""
    canvas = _canvas(density)
    u, v = canvas.u, canvas.v + 1.25
    return np.arctan2(u, v).astype(np.float32) / np.float32(2 * np.pi), np.sqrt(u * u + v * v)


def _noise(rng: np.random.Generator, canvas: _Canvas, cells: float) -> np.ndarray:
    """Smooth noise (h, w) of unit variance whose cells are ``cells`` per canonical unit."""
    shape = [int(2 * half * cells) + 3 for half in CHART_HALF]
    coarse = rng.standard_normal((shape[1], shape[0]), dtype=np.float32)
    return cv2.resize(coarse, (canvas.width, canvas.height), interpolation=cv2.INTER_CUBIC)


def _gauss(x: np.ndarray, centre: float, sigma: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - centre) / sigma) ** 2)


def _blend(image: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    image += alpha[..., None] * (np.asarray(colour, dtype=np.float32) - image)


def _draw_head(rng: np.random.Generator) -> Head:
    def vary(mean: float, spread: float) -> float:
        return float(mean + spread * rng.uniform(-1, 1))

    return Head(
        half_width=vary(0.6, 0.035),
        half_height=vary(0.8, 0.03),
        jaw=vary(0.08, 0.16),
        temple=vary(0.04, 0.07),
        hair_radius=vary(1.12, 0.05),
        eye=(vary(0.265, 0.018), vary(-0.1, 0.02)),
        eye_half=(vary(0.122, 0.012), vary(0.06, 0.009)),
        nose=(vary(0.12, 0.025), vary(0.2, 0.03)),
        mouth=(vary(0.19, 0.03), vary(0.47, 0.02), vary(0.062, 0.013)),
        brow=(vary(0.265, 0.02), vary(-0.275, 0.025)),
    )


def _relief(head: Head, canvas: _Canvas, rng: np.random.Generator) -> np.ndarray:
    u, v = canvas.u, canvas.v
    wing, tip = head.nose
    mouth_w, mouth_v, lip = head.mouth
    both = np.abs(u)

    def spot(cu: float, cv: float, su: float, sv: float) -> np.ndarray:
        return np.outer(_gauss(v, cv, sv), _gauss(both if cu else u, cu, su))

    strength = rng.uniform(0.8, 1.2, 8).astype(np.float32)
    ridge = np.outer(_gauss(np.minimum(v - (tip - 0.1), 0), 0, 0.13) * (v < tip + 0.03), _gauss(u, 0, 0.052))
    height = cv2.GaussianBlur(ridge, (0, 0), 0.015 * canvas.density) * (0.075 * strength[0])
    height += 0.075 * strength[1] * spot(0, tip - 0.01, 0.065, 0.055)
    height += 0.038 * strength[2] * spot(wing - 0.02, tip + 0.02, 0.04, 0.04)
    height += 0.045 * strength[3] * spot(head.brow[0] - 0.02, head.brow[1] + 0.02, 0.14, 0.06)
    height -= 0.055 * strength[4] * spot(head.eye[0] - 0.05, head.eye[1] - 0.02, 0.10, 0.08)
    height += 0.022 * spot(head.eye[0], head.eye[1], 0.075, 0.05)
    height += 0.05 * strength[5] * spot(0.4, 0.17, 0.15, 0.13)
    height += 0.028 * spot(0, mouth_v - 0.6 * lip, 0.7 * mouth_w, 0.5 * lip)
    height += 0.036 * spot(0, mouth_v + 0.75 * lip, 0.6 * mouth_w, 0.55 * lip)
    height -= 0.022 * spot(0, mouth_v, 0.8 * mouth_w, 0.018)
    height -= 0.025 * spot(0, mouth_v + 2.6 * lip, 0.12, 0.04)
    height += 0.05 * strength[6] * spot(0, 0.8, 0.17, 0.12)
    height -= 0.012 * spot(0, 0.5 * (tip + 0.06 + mouth_v - lip), 0.018, 0.05)
    height += 0.004 * _noise(rng, canvas, 3.0)
    slope_v, slope_u = np.gradient(height.astype(np.float32), 1.0 / canvas.density)
    return np.ascontiguousarray(np.stack([slope_u, slope_v], axis=-1), dtype=np.float32)


def _paint_skin(head: Head, canvas: _Canvas, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    u, v = canvas.u, canvas.v
    tone = 1.0 + 0.035 * _noise(rng, canvas, 5.0) + 0.04 * rng.uniform(0.5, 1.3) * _noise(rng, canvas, 15.0)
    albedo = tone[..., None] * skin
    both = np.abs(u)
    flush = 0.16 * rng.uniform(0.3, 1.0) * np.outer(_gauss(v, 0.2, 0.15), _gauss(both, 0.42, 0.16))
    flush += 0.12 * np.outer(_gauss(v, head.nose[1], 0.07), _gauss(u, 0, 0.08))
    shade = (
        0.20 * rng.uniform(0.4, 1.2) * np.outer(_gauss(v, head.eye[1] + 0.03, 0.07), _gauss(both, head.eye[0], 0.12))
    )
    shade += 0.25 * np.outer(_gauss(v, head.nose[1] + 0.085, 0.022), _gauss(u, 0, head.nose[0] * 0.9))
    nostril = np.outer(_gauss(v, head.nose[1] + 0.06, 0.016), _gauss(both, 0.5 * head.nose[0], 0.026))
    shade += 0.75 * nostril
    shade += 0.18 * np.outer(_gauss(v, head.nose[1] + 0.03, 0.045), _gauss(both, head.nose[0] + 0.012, 0.014))
    albedo *= 1.0 - flush[..., None] * np.float32([0.1, 1.0, 0.9]) - shade[..., None] * np.float32([0.8, 1.0, 1.0])
    return np.ascontiguousarray(albedo, dtype=np.float32)


def _paint_lips(albedo: np.ndarray, head: Head, canvas: _Canvas, skin: np.ndarray, rng: np.random.Generator) -> None:
    half, centre, lip = head.mouth
    window = canvas.window(0.0, centre, half * 1.1, lip * 2)
    u, v = canvas.u[:, window[1]] / half, canvas.v[window[0]] - centre
    arch = np.sqrt(np.clip(1.0 - u * u, 0, 1))
    bow = lip * arch * (1.0 - rng.uniform(0.1, 0.35) * _gauss(u, 0, 0.16)) * (0.8 + 0.2 * arch)
    edge = np.where(v < 0, bow * 0.85 + v, bow * 1.1 - v) * canvas.density
    alpha = np.clip(edge * 0.7, 0, 1) * rng.uniform(0.6, 0.95)
    colour = skin * np.float32([0.88, 0.56, 0.58]) * rng.uniform(0.85, 1.1)
    lines = 1.0 + 0.16 * np.interp(u[0], np.linspace(-1, 1, 25), rng.standard_normal(25))
    patch = albedo[window]
    patch += alpha[..., None].astype(np.float32) * (lines[None, :, None] * colour - patch).astype(np.float32)
    seam = np.exp(-0.5 * (v / 0.012) ** 2) * np.clip((1.03 - np.abs(u)) * 12, 0, 1)
    patch *= 1.0 - 0.72 * seam[..., None].astype(np.float32)


def _paint_eyes(albedo: np.ndarray, head: Head, canvas: _Canvas, rng: np.random.Generator) -> None:
    half_u, half_v = head.eye_half
    outer, inner = np.clip(
        _IRISES[rng.integers(len(_IRISES))] * rng.uniform(0.8, 1.25, (2, 3)).astype(np.float32), 0, 1
    )
    if rng.random() < 0.4:
        inner = np.float32([0.55, 0.38, 0.15]) * rng.uniform(0.7, 1.2)
    spokes, phase, ring = rng.integers(4, 10), rng.uniform(0, 6.28), rng.uniform(0.5, 0.72)
    tilt = rng.uniform(-0.12, 0.2)
    for side in (-1, 1):
        window = canvas.window(side * head.eye[0], head.eye[1], half_u * 1.4, half_v * 2.2)
        du = side * (canvas.u[:, window[1]] - side * head.eye[0])  # towards the temple
        dv = canvas.v[window[0]] - head.eye[1] + tilt * du
        across = np.clip(1.0 - (du / half_u) ** 2, 0, None)
        upper, lower = dv + half_v * across, 0.72 * half_v * across**0.8 - dv
        inside = np.clip(np.minimum(upper, lower) * canvas.density + 0.5, 0, 1)
        radius = np.sqrt(du * du + (dv + 0.12 * half_v) ** 2)
        iris_r = 0.95 * half_v + 0.006
        angle = np.arctan2(dv, du)
        pattern = 0.5 + 0.5 * np.cos(spokes * angle + phase)
        ball = np.ones((*inside.shape, 3), np.float32) * np.float32([0.92, 0.90, 0.88])
        ball *= (1.0 - 0.35 * np.clip(1.0 - upper / (0.7 * half_v), 0, 1))[..., None]

        def disc(limit: float, softness: float = 1.0) -> np.ndarray:
            return np.clip((limit - radius) * canvas.density * softness + 0.5, 0, 1).astype(np.float32)  # noqa: B023

        _blend(ball, disc(iris_r), outer * 0.35)
        _blend(ball, disc(iris_r * 0.86), outer * (0.75 + 0.5 * float(rng.random() * 0.1)))
        _blend(ball, (disc(iris_r * 0.86) * pattern * 0.45).astype(np.float32), np.minimum(outer * 1.6, 1))
        _blend(ball, disc(iris_r * ring), inner)
        _blend(ball, disc(iris_r * 0.38), np.float32([0.03, 0.03, 0.03]))
        patch = albedo[window]
        crease = np.exp(-0.5 * ((dv + half_v * (across + 0.42)) / 0.010) ** 2) * np.clip(across * 2, 0, 1)
        patch *= 1.0 - 0.35 * crease[..., None].astype(np.float32)
        patch += inside[..., None].astype(np.float32) * (ball - patch)
        lash = np.exp(-0.5 * (upper / 0.012) ** 2) * (np.abs(du) < half_u * 1.02)
        rim = 0.4 * np.exp(-0.5 * (lower / 0.009) ** 2) * (np.abs(du) < half_u)
        patch *= 1.0 - np.clip(0.88 * lash + rim, 0, 0.9)[..., None].astype(np.float32)


def _strokes(canvas: _Canvas, lines: np.ndarray, thickness: float, ink: np.ndarray) -> None:
    for line in canvas.points(lines):
        cv2.polylines(ink, [line.reshape(-1, 1, 2)], False, 255, max(1, round(thickness)), cv2.LINE_AA, 3)


def _paint_brows(albedo: np.ndarray, head: Head, canvas: _Canvas, hair: np.ndarray, rng: np.random.Generator) -> None:
    ink = np.zeros(albedo.shape[:2], np.uint8)
    half, arch, thick, slope = (
        rng.uniform(0.13, 0.165),
        rng.uniform(0.02, 0.07),
        rng.uniform(0.022, 0.045),
        rng.uniform(-0.1, 0.12),
    )
    count = int(rng.integers(16, 30))
    for side in (-1, 1):
        along = np.linspace(-1, 1, count) + rng.uniform(-0.04, 0.04, count)
        keep = rng.random(count) > 0.12
        u = head.brow[0] + half * along
        v = head.brow[1] - arch * (1 - along**2) + slope * half * along
        width = thick * (1.1 - 0.75 * np.clip(along, 0, 1)) * rng.uniform(0.7, 1.2, count)
        lean = 0.012 + 0.03 * (along + 1)
        start = np.stack([side * (u - 0.5 * lean), v + width], -1)
        end = np.stack([side * (u + lean), v - width * (1 - 0.6 * np.clip(along, 0, 1))], -1)
        _strokes(canvas, np.stack([start, end], 1)[keep], 0.018 * canvas.density, ink)
    _blend(albedo, ink.astype(np.float32) * np.float32(0.85 / 255), hair * 0.75)


def _face_points(rng: np.random.Generator, head: Head, count: int) -> np.ndarray:
    """Random canonical points (<= count, 2) of bare skin: not on eyes, brows, lips or nostrils."""
    points = np.stack([rng.uniform(-0.85, 0.85, count), rng.uniform(-0.68, 1.0, count)], -1)
    u, v = np.abs(points[:, 0]), points[:, 1]
    inside = (u / 0.85) ** 2 + ((v - 0.1) / 0.92) ** 2 < 1
    eye = ((u - head.eye[0]) / (head.eye_half[0] + 0.05)) ** 2 + ((v - head.eye[1]) / 0.13) ** 2 < 1
    brow = (np.abs(u - head.brow[0]) < 0.2) & (np.abs(v - head.brow[1]) < 0.09)
    lips = (u / (head.mouth[0] + 0.05)) ** 2 + ((v - head.mouth[1]) / (2.0 * head.mouth[2])) ** 2 < 1
    return points[inside & ~eye & ~brow & ~lips]


def _paint_marks(albedo: np.ndarray, head: Head, canvas: _Canvas, skin: np.ndarray, rng: np.random.Generator) -> None:
    """Freckles, wrinkles and scars, then moles on top."""
    ink = np.zeros(albedo.shape[:2], np.uint8)
    if rng.random() < 0.6:
        freckles = _face_points(rng, head, int(rng.integers(60, 260)))
        spread = rng.uniform(0.15, 0.5)
        near = rng.random(len(freckles)) < np.exp(-0.5 * ((freckles[:, 1] - 0.12) / spread) ** 2)
        for centre, radius in zip(
            canvas.points(freckles[near]), rng.uniform(0.007, 0.016, int(near.sum())), strict=True
        ):
            cv2.circle(ink, centre.tolist(), max(4, round(8 * radius * canvas.density)), 200, -1, cv2.LINE_AA, 3)
    wrinkles = np.zeros_like(ink)
    lines = []
    for _ in range(int(rng.integers(0, 4))):  # forehead
        u = np.linspace(-0.4, 0.4, 7) * rng.uniform(0.5, 1.0) + rng.uniform(-0.1, 0.1)
        lines.append(np.stack([u, rng.uniform(-0.62, -0.4) + 0.1 * u * u + rng.uniform(-0.012, 0.012, 7)], -1))
    for side in (-1, 1):
        if rng.random() < 0.5:  # nose to mouth
            v = np.linspace(head.nose[1], head.mouth[1] + 0.05, 7)
            u = head.nose[0] + 0.05 + 0.11 * np.linspace(0, 1, 7) ** 0.8
            lines.append(np.stack([side * u, v], -1))
        if rng.random() < 0.5:  # crow's feet
            for turn in rng.uniform(-0.6, 0.6, 3):
                reach = np.linspace(0.02, 0.13, 7)
                u = head.eye[0] + head.eye_half[0] + reach
                lines.append(np.stack([side * u, head.eye[1] + turn * reach], -1))
    if lines:
        _strokes(canvas, np.stack(lines), 1, wrinkles)
    depth = ink.astype(np.float32) * np.float32(rng.uniform(0.35, 0.6) / 200)
    depth += wrinkles.astype(np.float32) * np.float32(rng.uniform(0.2, 0.4) / 255)
    albedo *= 1.0 - depth[..., None] * np.float32([0.62, 0.9, 1.0])
    if rng.random() < 0.35:
        centre, angle, length = _face_points(rng, head, 40)[0], rng.uniform(0, np.pi), rng.uniform(0.08, 0.2)
        reach = np.linspace(-0.5, 0.5, 6)[:, None] * length * np.asarray([np.cos(angle), np.sin(angle)])
        scar = np.zeros_like(ink)
        _strokes(canvas, (centre + reach + rng.uniform(-0.01, 0.01, (6, 2)))[None], 0.022 * canvas.density, scar)
        _blend(
            albedo,
            scar.astype(np.float32) * np.float32(0.65 / 255),
            np.minimum(skin * np.float32([1.1, 0.92, 0.9]) + 0.12, 1),
        )
    moles = _face_points(rng, head, 80)[: int(rng.integers(8, 21))]
    for (u, v), size in zip(moles, rng.beta(1.2, 2.0, len(moles)), strict=True):
        radius = 0.017 + 0.022 * size
        window = canvas.window(u, v, 1.6 * radius, 1.6 * radius)
        aspect, turn = rng.uniform(0.75, 1.0), rng.uniform(0, np.pi)
        du, dv = canvas.u[:, window[1]] - u, canvas.v[window[0]] - v
        a, b = np.cos(turn) * du + np.sin(turn) * dv, (np.cos(turn) * dv - np.sin(turn) * du) / aspect
        alpha = np.clip((radius - np.sqrt(a * a + b * b)) * canvas.density * 0.8 + 0.5, 0, 1)
        colour = skin * np.float32([0.36, 0.25, 0.22]) * rng.uniform(0.6, 1.3)
        _blend(albedo[window], (alpha * rng.uniform(0.75, 0.95)).astype(np.float32), colour)


def _paint_beard(albedo: np.ndarray, head: Head, canvas: _Canvas, hair: np.ndarray, rng: np.random.Generator) -> None:
    kind = rng.random()
    if kind > 0.3:
        return
    u, v = np.abs(canvas.u), canvas.v
    half, centre, lip = head.mouth
    chin = np.clip((v - (0.35 + 0.25 * np.cos(np.minimum(u * 3.2, 3.14)) * -1)) * 5, 0, 1)
    upper = np.exp(-0.5 * ((v - centre + 1.75 * lip) / 0.035) ** 2) * np.clip((half + 0.06 - u) * 12, 0, 1)
    lips = np.clip((((u / (half * 1.1)) ** 2 + ((v - centre) / (1.5 * lip)) ** 2) - 1) * 3, 0, 1)
    area = np.maximum(chin, upper) * lips
    grain = np.clip(0.55 + 0.5 * _noise(rng, canvas, 26.0), 0, 1)
    _blend(albedo, (area * grain * (0.75 if kind < 0.15 else 0.35)).astype(np.float32), hair * 0.8)


def _paint_mane(head: Head, canvas: _Canvas, hair: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turns, distance = _strand_map(canvas.density)
    wave = rng.uniform(0.0, 0.02)
    strands = rng.standard_normal((24, 160), dtype=np.float32)
    strands = strands + 0.6 * np.repeat(rng.standard_normal((24, 40), dtype=np.float32), 4, axis=1)
    column = (turns + wave * _noise(rng, canvas, 3.0) + 0.5) * 158.0
    lock = cv2.remap(strands, column, distance * 6.0, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    line = rng.uniform(-0.82, -0.6)
    part, fringe = rng.uniform(-0.3, 0.3), rng.uniform(-0.1, 0.16)
    u, v = canvas.u, canvas.v
    side_u, side_v = rng.uniform(0.78, 0.92), rng.choice([-0.15, 0.05, 1.2], p=[0.4, 0.3, 0.3])
    drop = 1.0 / (1.0 + np.exp(-(np.abs(u) - side_u) * 22.0))
    edge = line + fringe * np.exp(-0.5 * ((u - part) / 0.25) ** 2) + 0.28 * u * u + (side_v - line) * drop
    bald = rng.random() < 0.08
    opacity = np.clip((edge - v) * 9.0 + 0.5 + 0.28 * lock, 0, 1) if not bald else np.zeros_like(lock)
    mane = np.empty((canvas.height, canvas.width, 4), np.float32)
    mane[..., :3] = np.clip((1.0 + 0.22 * lock)[..., None] * hair, 0, 1)
    mane[..., 3] = opacity
    return mane


@lru_cache(maxsize=256)
def person(seed: int, index: int, size: int) -> Identity:
    """The person number ``index`` of the population ``seed``, with textures fit for photos of ``size`` pixels."""
    rng = np.random.default_rng([seed, 1, index])
    canvas = _canvas(TEXELS_PER_PIXEL * size / 2.0)
    head = _draw_head(rng)
    position = rng.uniform(0, len(_SKINS) - 1.001)
    low = int(position)
    skin = _SKINS[low] + np.float32(position - low) * (_SKINS[low + 1] - _SKINS[low])
    skin = (skin * rng.uniform(0.95, 1.04, 3)).astype(np.float32)
    chances = (
        np.float32([0.3, 0.25, 0.17, 0.12, 0.08, 0.08]) if position < 1.8 else np.float32([0.6, 0.3, 0, 0, 0, 0.1])
    )
    hair = _HAIRS[rng.choice(len(_HAIRS), p=chances / chances.sum())] * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    albedo = _paint_skin(head, canvas, skin, rng)
    _paint_lips(albedo, head, canvas, skin, rng)
    _paint_beard(albedo, head, canvas, hair, rng)
    _paint_marks(albedo, head, canvas, skin, rng)
    _paint_eyes(albedo, head, canvas, rng)
    _paint_brows(albedo, head, canvas, hair, rng)
    relief = _relief(head, _canvas(canvas.density / 2.0), rng)
    mane = _paint_mane(head, canvas, hair, rng)
    long_hair = bool(mane[canvas.height * 3 // 4, 0, 3] > 0.5)
    return Identity(head, warp_basis(head), skin, hair, np.clip(albedo, 0, 1), relief, mane, long_hair)
