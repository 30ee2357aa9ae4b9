"""Painting hair: brows, beard and the mane, as textures of the canonical plane."""

from functools import lru_cache

import cv2
import numpy as np

from .head_geometry import Head
from .paint import Canvas, blend, canvas, gauss

_F = np.float32


def brows(image: np.ndarray, head: Head, on: Canvas, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Paint brows of single strokes, no two alike."""
    ink = on.blank()
    half, arch, thick = rng.uniform(0.13, 0.165), rng.uniform(0.01, 0.055), rng.uniform(0.022, 0.042)
    slope, count = rng.uniform(-0.05, 0.12), int(rng.integers(16, 28))
    for side in (-1, 1):
        along = np.linspace(-1, 1, count) + rng.uniform(-0.05, 0.05, count)
        u, outward = head.brow[0] + half * along, np.clip(along, 0, 1)
        v = head.brow[1] + arch * (along**2 - 0.5) + slope * half * along
        width = thick * (1.1 - 0.75 * outward) * rng.uniform(0.6, 1.25, count)
        lean = 0.012 + 0.03 * (along + 1)
        start = np.stack([side * (u - 0.5 * lean), v + width], -1)
        end = np.stack([side * (u + lean), v - width * (1 - 0.6 * outward)], -1)
        on.strokes(np.stack([start, end], 1)[rng.random(count) > 0.15], 0.016, ink)
    rows, _ = on.window(0, head.brow[1], 1, 0.2)
    blend(image[:, rows], ink[rows].astype(_F) * _F(0.88 / 255), colour * 0.72)


def beard(image: np.ndarray, head: Head, on: Canvas, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Paint stubble or a full beard, of grains, on three in ten."""
    kind = rng.random()
    if kind > 0.3:
        return
    half, centre, lip = head.mouth
    rows, _ = on.window(0, 0.8, 1, 0.7)
    u, v = np.abs(on.u), on.v[rows]
    chin = np.clip((v - (_F(0.35) + _F(0.25) * np.cos(np.minimum(u * 3.2, _F(np.pi))))) * 5, 0, 1)
    chin *= np.clip(u * 4 + (v - centre - lip) * 8, 0, 1)
    upper = gauss(v, centre - 1.75 * lip, 0.035) * np.clip((_F(half + 0.06) - u) * 12, 0, 1)
    off = ((u * _F(1 / (half * 1.1))) ** 2 + ((v - _F(centre)) * _F(1 / (1.5 * lip))) ** 2 - 1) * 3
    area = np.maximum(chin, upper) * np.clip(off, 0, 1)
    grain = np.clip(_F(0.6) + _F(0.5) * on.noise(rng, 34.0)[rows], 0, 1)
    blend(image[:, rows], area * grain * _F(0.8 if kind < 0.15 else 0.4), colour * 0.8)


@lru_cache(maxsize=4)
def _crown(density: float) -> tuple[np.ndarray, np.ndarray]:
    """Return polar coordinates about the crown of the head: (turns, distance), each (h, w)."""
    on = canvas(density)
    u, v = on.u, on.v + _F(1.25)
    return (np.arctan2(u, v) / _F(2 * np.pi)).astype(_F), np.sqrt(u * u + v * v)


def mane(on: Canvas, colour: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Paint hair (4, h, w), RGB and opacity, on its own sphere; return also how far down it falls (bald: -9)."""
    turns, distance = _crown(on.density)
    strands = rng.standard_normal((24, 160), dtype=_F)
    strands += _F(0.6) * np.repeat(rng.standard_normal((24, 40), dtype=_F), 4, axis=1)
    column = (turns + _F(rng.uniform(0, 0.02)) * on.noise(rng, 3.0) + _F(0.5)) * 158
    lock = cv2.remap(strands, column, distance * 6, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    line, part, fringe = rng.uniform(-0.82, -0.6), rng.uniform(-0.3, 0.3), rng.uniform(-0.1, 0.16)
    side_u, side_v = rng.uniform(0.78, 0.92), rng.choice([-0.15, 0.05, 1.2], p=[0.4, 0.3, 0.3]).item()
    bald = rng.random() < 0.06
    drop = 1 / (1 + np.exp((_F(side_u) - np.abs(on.u)) * 22))
    edge = _F(line) + _F(fringe) * gauss(on.u, part, 0.25) + _F(0.28) * on.u * on.u + _F(side_v - line) * drop
    opacity = np.clip((edge - on.v) * 9 + _F(0.5) + _F(0.28) * lock, 0, 1)
    if bald:
        opacity[:] = 0
    tone = np.maximum(1 + _F(0.22) * lock, 0)
    planes = np.stack([*(tone * _F(c) for c in colour), opacity])
    return planes, -9.0 if bald else 9.0 if side_v > 1 else side_v + 0.1
