"""The photo, row by row: over the sketched background the face, and hair in front of it; then glasses.

Arithmetic is kept apart from looking up: compilers turn loops without look-ups into vector instructions.
"""

from __future__ import annotations

import math

import numpy as np

from ...compiler import F, loop, point
from ..face import FACE, HAIR, SCENE
from .geometry import centre, disc_to_chart, screen_to_head, unit
from .lookup import blend_levels, texel_spot
from .shading import gape, lid, spectacles
from .sketch import BACK_U, BACK_V, HAIR_LIGHT, PLANES, SKIN_LIGHT

DARK, TEETH = F([0.24, 0.07, 0.07]), F([0.86, 0.83, 0.79])  # RGB of the mouth's inside


@loop
def render(view, size, rough, albedo, mane, density, lid_colour, tint):
    """The photo, without glasses.

    Args:
        view: Head and photo.
        size: Of the photo.
        rough: (7, h, h) of `sketch`.
        albedo: (h, w, 3) uint8 RGB of the face, `density` texels per canonical unit.
        mane: (h, w, 4) uint8 RGB and opacity of the hair.
        density: float32.
        lid_colour: (3,) RGB.
        tint: (3,) RGB gain of the photo.

    Returns:
        RGB (3, size, size), which may exceed [0, 1]; and for each pixel what it shows: canonical coordinates u and v of
        the face or the hair, and layer, SCENE / FACE / HAIR; each (size, size).
    """
    image, u, v = np.empty((3, size, size), F), np.empty((size, size), F), np.empty((size, size), F)
    layer = np.empty((size, size), F)
    radius, soft = view.hair_radius, F(0.5) * F(size)
    pixel = view.half_width * view.scale * soft  # pixels in a unit of s
    faces, face_wide, face_tall = albedo.reshape(-1, 3), albedo.shape[1], albedo.shape[0]
    manes, mane_wide, mane_tall = mane.reshape(-1, 4), mane.shape[1], mane.shape[0]
    smooth, skin, hair = np.empty((PLANES, size), F), np.zeros((3, size), F), np.zeros((3, size), F)
    s, t, reach, still = np.empty(size, F), np.empty(size, F), np.empty(size, F), np.empty(size, F)
    cover, alpha, hair_u, hair_v = np.empty(size, F), np.empty(size, F), np.empty(size, F), np.empty(size, F)
    first, right, down = np.empty(size, np.int32), np.empty(size, F), np.empty(size, F)
    for row in range(size):
        _enlarge(rough, row, smooth)
        for i in range(size):
            s[i], t[i] = screen_to_head(view, centre(i, size), centre(row, size))
            reach[i] = math.sqrt(s[i] * s[i] + t[i] * t[i])
            cover[i] = unit((F(1) - reach[i]) * pixel + F(0.5))
            alpha[i] = unit((radius - reach[i]) * pixel + F(0.5))
            hair_u[i], hair_v[i] = disc_to_chart(view, s[i], t[i], radius)
            first[i], right[i], down[i] = texel_spot(hair_u[i], hair_v[i], density, mane_wide, mane_tall)
        for i in range(size):
            if alpha[i] > F(0):
                alpha[i] *= blend_levels(manes, mane_wide, first[i], right[i], down[i], 3)
            if alpha[i] > F(0):
                for k in range(3):
                    hair[k, i] = blend_levels(manes, mane_wide, first[i], right[i], down[i], k)
        for i in range(size):
            p_u, p_v = disc_to_chart(view, s[i], t[i], F(1))
            u[row, i], v[row, i] = p_u - smooth[BACK_U, i], p_v - smooth[BACK_V, i]
            first[i], right[i], down[i] = texel_spot(u[row, i], v[row, i], density, face_wide, face_tall)
        for i in range(size):
            if cover[i] > F(0) and alpha[i] < F(1):
                for k in range(3):
                    skin[k, i] = blend_levels(faces, face_wide, first[i], right[i], down[i], k)
        if view.eyes < F(0.99):
            _close_eyes(view, u[row], v[row], soft, lid_colour, skin)
        still[:] = F(1)
        if view.mouth > F(0.02):
            _open_mouth(view, u[row], v[row], soft, skin, still)
        for k in range(3):
            for i in range(size):
                colour = smooth[k, i]
                colour += cover[i] * (skin[k, i] * smooth[SKIN_LIGHT, i] - colour)
                colour += alpha[i] * (hair[k, i] * smooth[HAIR_LIGHT, i] - colour)
                image[k, row, i] = colour * tint[k]
        for i in range(size):
            is_hair = (alpha[i] > F(0.7)) & (reach[i] < radius - F(1.5) / pixel)
            is_face = (cover[i] > F(0.98)) & (alpha[i] < F(0.2)) & (still[i] > F(0))
            layer[row, i] = HAIR if is_hair else FACE if is_face else SCENE
            u[row, i] = hair_u[i] if is_hair else u[row, i]
            v[row, i] = hair_v[i] if is_hair else v[row, i]
    return image, u, v, layer


@point
def _enlarge(planes, row, line):
    """A row of planes (n, h, h) at twice the resolution, linearly, into (n, size): shares of 3/4 and 1/4."""
    half, size = planes.shape[1], line.shape[1]
    near = row // 2
    far = min(max(near + 2 * (row % 2) - 1, 0), half - 1)
    between = np.empty(half + 2, F)
    for k in range(len(planes)):
        for i in range(half):
            between[i + 1] = F(0.75) * planes[k, near, i] + F(0.25) * planes[k, far, i]
        between[0], between[half + 1] = between[1], between[half]
        for i in range(size // 2):
            line[k, 2 * i] = F(0.75) * between[i + 1] + F(0.25) * between[i]
            line[k, 2 * i + 1] = F(0.75) * between[i + 1] + F(0.25) * between[i + 2]
        if size % 2:
            line[k, size - 1] = F(0.75) * between[half] + F(0.25) * between[half - 1]


@point
def _close_eyes(view, u, v, soft, colour, skin):
    """Lids over a row of the face (3, size) at canonical points (size,)."""
    for i in range(len(u)):
        closed, light = lid(view, u[i], v[i], soft)
        for k in range(3):
            skin[k, i] = (skin[k, i] + closed * (colour[k] - skin[k, i])) * light


@point
def _open_mouth(view, u, v, soft, skin, still):
    """The inside of the mouth over a row of the face (3, size), which is then not `still` (size,)."""
    for i in range(len(u)):
        inside, teeth = gape(view, u[i], v[i], soft)
        for k in range(3):
            skin[k, i] += inside * (DARK[k] + teeth * (TEETH[k] - DARK[k]) - skin[k, i])
        if inside > F(0.02):
            still[i] = F(0)


@loop
def wear(view, glasses, tint, image, layer):
    """Glasses over the face in the photo (3, size, size); takes what they cover out of the layer."""
    size = len(layer)
    for row in range(size):
        for i in range(size):
            if layer[row, i] == FACE:
                s, t = screen_to_head(view, centre(i, size), centre(row, size))
                frame, lens = spectacles(view, glasses, *disc_to_chart(view, s, t, F(1)), F(0.5) * F(size))
                for k in range(3):
                    if lens:
                        image[k, row, i] += tint[k] * glasses.lens - F(0.14) * image[k, row, i]
                    image[k, row, i] += frame * (tint[k] * glasses.frame - image[k, row, i])
                if lens or frame > F(0.02):
                    layer[row, i] = SCENE
