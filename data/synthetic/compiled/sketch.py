"""The sketch of a photo: all that is smooth in it, worked out at half the resolution."""

from __future__ import annotations

import math

import numpy as np

from ...compiler import F, loop, point
from .geometry import centre, disc_to_chart, screen_to_head
from .lookup import blend, texel_spot
from .shading import behind, shade
from .warp import WARP_CELLS, warp_spot

SKIN_LIGHT, HAIR_LIGHT, BACK_U, BACK_V, PLANES = 3, 4, 5, 6, 7  # planes of a sketch after the RGB of the background


@loop
def sketch(view, size, mane_end, colours, background, backward, relief, density):
    """Background with ears, clothes, neck and hair; light on face and hair; displacement of what the face shows.

    Args:
        view: Head and photo.
        size: Of the photo.
        mane_end: How far down the hair behind the head reaches, float32.
        colours: (4, 3) RGB of what is `behind`.
        background: (3, h, h) plain background, with h half the size, rounded up.
        backward: Grid of the inverse warp.
        relief: (h, w, 2) slopes of the skin, with `density` texels per canonical unit.
        density: float32.

    Returns:
        (7, h, h): RGB of the background, light on skin and hair, displacement (U, V).
    """
    half, radius = background.shape[1], view.hair_radius
    out = np.empty((PLANES, half, half), F)
    scale = F(0.5) * F(size)
    edge = view.half_width * view.scale * F(0.5) * scale  # pixels in a unit of s
    tall, wide = relief.shape[:2]
    slopes = relief.reshape(-1, 2)
    s, t, u, v = np.empty(half, F), np.empty(half, F), np.empty(half, F), np.empty(half, F)
    first, right, down = np.empty(half, np.int32), np.empty(half, F), np.empty(half, F)
    for row in range(half):
        for i in range(half):
            s[i], t[i] = screen_to_head(view, centre(i, scale), centre(row, scale))
        _lay_over(view, s, t, edge, mane_end, colours, background[:, row], out[:3, row])
        for i in range(half):
            u[i], v[i] = disc_to_chart(view, s[i], t[i], F(1))
            first[i], right[i], down[i] = warp_spot(u[i], v[i])
        for i in range(half):
            out[BACK_U, row, i] = blend(backward, WARP_CELLS, first[i], right[i], down[i], 0)
            out[BACK_V, row, i] = blend(backward, WARP_CELLS, first[i], right[i], down[i], 1)
        for i in range(half):
            at = u[i] - out[BACK_U, row, i], v[i] - out[BACK_V, row, i]
            first[i], right[i], down[i] = texel_spot(*at, density, wide, tall)
        for i in range(half):
            u[i] = blend(slopes, wide, first[i], right[i], down[i], 0)
            v[i] = blend(slopes, wide, first[i], right[i], down[i], 1)
        for i in range(half):
            square = s[i] * s[i] + t[i] * t[i]
            depth, hair_depth = math.sqrt(abs(square - F(1))), math.sqrt(abs(square - radius * radius))
            out[SKIN_LIGHT, row, i] = shade(view, s[i] - u[i], t[i] - v[i], depth, F(0.12))
            out[HAIR_LIGHT, row, i] = shade(view, s[i], t[i], hair_depth, F(0.1))
    return out


@point
def _lay_over(view, s, t, edge, mane_end, colours, background, out):
    """Lays what is `behind` over a row of the background (3, h), at the points (s, t), each (h,)."""
    for i in range(len(s)):
        layers = behind(view, s[i], t[i], edge, mane_end)
        for k in range(3):
            light, clear = F(0), F(1)
            for n in range(4):
                opacity, brightness = layers[n]
                light += clear * opacity * brightness * colours[n, k]
                clear *= F(1) - opacity
            out[k, i] = light + clear * background[k, i]
