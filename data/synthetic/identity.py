"""Who: a person drawn from (seed, index), with everything static painted into textures of the canonical plane.

Identity lies on purpose in fine detail that a degradation destroys (moles, freckles, scars, brow strokes, irises,
skin pattern, wrinkles, stubble), on top of the coarse traits (skin, hair, face shape) that it leaves.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from . import paint
from .head_geometry import Head, warp_basis
from .paint import Canvas, blend, gauss

_F = np.float32
TEXELS_PER_PIXEL = 1.4
CACHE_BYTES = 320 * 2**20  # of textures kept in memory by a process: some 550 people at 128 pixels

# RGB in [0, 1]
SKINS = ((0.96, 0.80, 0.71), (0.91, 0.72, 0.59), (0.80, 0.60, 0.45), (0.62, 0.43, 0.31), (0.43, 0.29, 0.22))
HAIRS = ((0.09, 0.07, 0.07), (0.20, 0.13, 0.10), (0.36, 0.23, 0.14), (0.72, 0.55, 0.32))  # black to blond
HAIRS += ((0.55, 0.25, 0.12), (0.62, 0.61, 0.60))  # red, grey


@dataclass(frozen=True)
class Identity:
    """A person: shape, colours, and textures over the canonical plane (rows V, columns U)."""

    head: Head
    basis: np.ndarray  # (7, cells, cells, 2) displacements of the expressions
    skin: np.ndarray  # (3,) RGB
    hair: np.ndarray  # (3,) RGB
    mane_end: float  # how far down the hair behind the head reaches, in half heights of the head; bald: -9
    albedo: np.ndarray  # (h, w, 3) uint8 RGB of the face, eyes open, mouth closed
    mane: np.ndarray  # (h, w, 4) uint8 RGB and opacity of the hair, on its own sphere
    relief: np.ndarray  # (h/2, w/2, 2) float32 slopes of the skin towards +U and +V


_people: OrderedDict[tuple[int, int, int], Identity] = OrderedDict()


def person(seed: int, index: int, size: int) -> Identity:
    """Return the person `index` of the population `seed`, for photos of `size` pixels; recent ones are remembered."""
    key = (seed, index, size)
    if key in _people:
        _people.move_to_end(key)
        return _people[key]
    found = _people[key] = _create(*key)
    memory = found.albedo.nbytes + found.mane.nbytes + found.relief.nbytes + found.basis.nbytes
    while len(_people) > max(2, CACHE_BYTES // memory):
        _people.popitem(last=False)
    return found


def _create(seed: int, index: int, size: int) -> Identity:
    rng = np.random.default_rng([seed, 1, index])
    head = _draw_head(rng)
    place = rng.uniform(0, len(SKINS) - 1.001)
    light, dark = np.float32(SKINS[int(place)]), np.float32(SKINS[int(place) + 1])
    skin = (light + np.float32(place % 1) * (dark - light)) * rng.uniform(0.95, 1.04, 3).astype(np.float32)
    chances = (0.28, 0.24, 0.18, 0.12, 0.09, 0.09) if place < 1.8 else (0.6, 0.3, 0, 0, 0, 0.1)
    hair = np.float32(HAIRS[rng.choice(len(HAIRS), p=chances)]) * rng.uniform(0.96, 1.04, 3).astype(np.float32)
    hair *= rng.uniform(0.85, 1.15)

    density = TEXELS_PER_PIXEL * size / 2.0
    canvas = paint.canvas(density)
    albedo = paint.skin(head, canvas, skin, rng)
    paint.lips(albedo, head, canvas, skin, rng)
    _beard(albedo, head, canvas, hair, rng)
    paint.marks(albedo, head, canvas, skin, rng)
    paint.eyes(albedo, head, canvas, rng)
    _brows(albedo, head, canvas, hair, rng)
    relief = paint.relief(head, paint.canvas(density / 2), rng)
    mane, mane_end = _mane(canvas, hair, rng)
    albedo, mane = paint.texels(albedo), paint.texels(mane)
    return Identity(head, warp_basis(head), skin, hair, mane_end, albedo, mane, relief)


def _draw_head(rng: np.random.Generator) -> Head:
    def vary(mean: float, spread: float) -> float:
        return mean + spread * rng.uniform(-1, 1)

    return Head(
        half_width=vary(0.6, 0.035),
        half_height=vary(0.8, 0.03),
        jaw=vary(0.12, 0.14),
        temple=vary(0.04, 0.07),
        hair_radius=vary(1.12, 0.05),
        eye=(vary(0.265, 0.018), vary(-0.1, 0.02)),
        eye_half=(vary(0.122, 0.012), vary(0.06, 0.009)),
        nose=(vary(0.12, 0.025), vary(0.2, 0.03)),
        mouth=(vary(0.19, 0.03), vary(0.47, 0.02), vary(0.062, 0.013)),
        brow=(vary(0.265, 0.02), vary(-0.275, 0.025)),
    )


def _brows(image: np.ndarray, head: Head, on: Canvas, colour: np.ndarray, rng: np.random.Generator) -> None:
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


def _beard(image: np.ndarray, head: Head, on: Canvas, colour: np.ndarray, rng: np.random.Generator) -> None:
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
    on = paint.canvas(density)
    u, v = on.u, on.v + _F(1.25)
    return (np.arctan2(u, v) / _F(2 * np.pi)).astype(_F), np.sqrt(u * u + v * v)


def _mane(on: Canvas, colour: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
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
