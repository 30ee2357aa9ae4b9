"""Who: a person drawn from (seed, index), with everything static painted into textures of the canonical plane.

Identity lies on purpose in fine detail that a degradation destroys (moles, freckles, scars, brow strokes, irises,
skin pattern, wrinkles, stubble), on top of the coarse traits (skin, hair, face shape) that it leaves.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from . import hair as hairs
from . import paint
from .expression_warp import warp_basis
from .head_geometry import Head

TEXELS_PER_PIXEL = 1.4
CACHE_BYTES = 320 * 2**20  # of textures kept in memory by a process: some 550 people at 128 pixels

# RGB in [0, 1]
SKINS = ((0.96, 0.80, 0.71), (0.91, 0.72, 0.59), (0.80, 0.60, 0.45), (0.62, 0.43, 0.31), (0.43, 0.29, 0.22))
BLACK, DARK, BROWN, BLOND, RED, GREY = range(6)
HAIRS = (
    (0.09, 0.07, 0.07),
    (0.20, 0.13, 0.10),
    (0.36, 0.23, 0.14),
    (0.72, 0.55, 0.32),
    (0.55, 0.25, 0.12),
    (0.62, 0.61, 0.60),
)


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
    hairs.beard(albedo, head, canvas, hair, rng)
    paint.marks(albedo, head, canvas, skin, rng)
    paint.eyes(albedo, head, canvas, rng)
    hairs.brows(albedo, head, canvas, hair, rng)
    relief = paint.relief(head, paint.canvas(density / 2), rng)
    mane, mane_end = hairs.mane(canvas, hair, rng)
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
