"""A photo: camera, expression, light, background and occluders around a person of `identity`."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from .expression_warp import Warp
from .face import F, Shot, View
from .identity import TEXELS_PER_PIXEL, Identity, person
from .match import Photo, correspond
from .photo_layers import draw_glasses, occluder, surroundings

# How far the face moves on the screen as the head turns: photos are aligned by eyes and mouth, which takes it back.
ALIGN = (0.73, 0.63)


def draw_shot(rng: np.random.Generator) -> Shot:
    """A random photo: pose and alignment jitter of FFHQ-like crops, expression, light, glasses, occluder."""
    draws = iter(rng.random(24).tolist())

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(draws)

    yaw, pitch = between(-0.33, 0.33), between(-0.13, 0.13)
    mouth, smile, brow = next(draws), next(draws), next(draws)
    side = 0.4 * between(-1, 1)
    light = between(-0.75, 0.75), between(-0.7, 0.15), 0.9
    far = math.hypot(*light)
    gain, warmth = between(0.88, 1.1), between(-0.06, 0.06)
    eyes = 1.0 if next(draws) < 0.9 else (0.0, 0.45)[next(draws) < 0.5]
    return Shot(
        yaw=yaw,
        pitch=pitch,
        roll=rng.normal(0, 0.03),
        scale=between(1.26, 1.36),
        shift=(
            between(-0.02, 0.02) - ALIGN[0] * math.sin(yaw),
            0.05 + between(-0.02, 0.02) - ALIGN[1] * math.sin(pitch),
        ),
        mouth=0.0 if mouth < 0.55 else (mouth - 0.35) / 0.65,
        smile=0.0 if smile < 0.5 else 2 * smile - 1,
        eyes=eyes,
        brows=(0.0, 0.0) if brow < 0.6 else (min(0.6 + side, 1.0), min(0.6 - side, 1.0)),
        light=tuple(axis / far for axis in light),
        tint=(gain * (1 + warmth), gain, gain * (1 - warmth)),
        contrast=between(0.6, 1.0),
        glasses=next(draws) < 0.08,
        occluder=next(draws) < 0.08,
        scene_seed=int(next(draws) * 2**31),
    )


@cache
def compile_loops() -> None:
    """Compiles the loops over pixels or loads them from disk; processes that are forked later have them then.

    Raises:
        RefStarError: numba cannot be imported.
    """
    photo = take_photo(person(0, 0, 16), Shot(glasses=True), 16)
    correspond(photo, photo)


def take_photo(person: Identity, shot: Shot, size: int) -> Photo:
    """Renders a person.

    Args:
        person: who.
        shot: everything else.
        size: side of the photo in pixels; the person's textures should be made for it.
    """
    from .compiled.render import render, wear
    from .compiled.sketch import sketch

    rng = np.random.default_rng(shot.scene_seed)
    view, warp = View.of(person.head, shot), Warp.of(person.basis, shot)
    density = F(TEXELS_PER_PIXEL * size / 2)
    background, colours = surroundings(person, (size + 1) // 2, rng)
    relief = person.relief, F(density / 4)  # painted with density / 2: what shows is its upper left quarter
    rough = sketch(view, size, F(person.mane_end), colours, background, warp.backward, *relief)
    tint, lid = F(shot.tint), F(0.88) * person.skin
    image, u, v, layer = render(view, size, rough, person.albedo, person.mane, density, lid, tint)
    if shot.glasses:
        wear(view, draw_glasses(rng), tint, image, layer)
    if shot.occluder:
        layer *= ~occluder(image, rng)
    return Photo(np.clip(image, 0, 1, out=image), u, v, layer, shot, person.head, view, warp)
