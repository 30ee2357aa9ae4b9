"""The correspondence between two photos of a person, pixel by pixel."""

from __future__ import annotations

import numpy as np

from ...compiler import F, loop, point
from .geometry import centre, chart_to_disc, head_to_screen, unit
from .lookup import blend, spot
from .warp import WARP_CELLS, warp_spot

GRAZING = 0.22  # surface seen at a steeper angle than this (cosine) counts as hidden


@loop
def match(view, u, v, layer, other, forward, other_layer):
    """Carries what each pixel shows to the other photo: displace, turn, project, and look what lies on top there.

    Args:
        view: Head and photo of the pixels asked about.
        u: (h, w) canonical coordinates of what they show.
        v: The same.
        layer: (h, w) SCENE / FACE / HAIR.
        other: View of the other photo.
        forward: Grid of its warp.
        other_layer: Its layer.

    Returns:
        flow (2, h, w), visible and selected (h, w) bool: see `..match.correspond`.
    """
    height, width = layer.shape
    flow = np.empty((2, height, width), F)
    visible, selected = np.empty((height, width), np.bool_), np.empty((height, width), np.bool_)
    there = other_layer.reshape(-1, 1)
    rows, columns = other_layer.shape
    eyes_differ = abs(view.eyes - other.eyes) > F(0.1)
    mouth_differs = abs(view.mouth - other.mouth) > F(0.15)
    first, right, down = np.empty(width, np.int32), np.empty(width, F), np.empty(width, F)
    x, y, facing, shown = np.empty(width, F), np.empty(width, F), np.empty(width, F), np.empty(width, F)
    for row in range(height):
        for i in range(width):
            first[i], right[i], down[i] = warp_spot(u[row, i], v[row, i])
        for i in range(width):
            x[i], y[i] = u[row, i], v[row, i]
            if layer[row, i] > F(0):  # hair is not displaced
                x[i] += blend(forward, WARP_CELLS, first[i], right[i], down[i], 0)
                y[i] += blend(forward, WARP_CELLS, first[i], right[i], down[i], 1)
        for i in range(width):
            radius = F(1) if layer[row, i] > F(0) else view.hair_radius
            s, t, facing[i] = chart_to_disc(other, x[i], y[i], radius)
            x[i], y[i] = head_to_screen(other, s, t)
            column, line = (x[i] + F(1)) * (F(0.5) * F(columns)) - F(0.5), (y[i] + F(1)) * (F(0.5) * F(rows)) - F(0.5)
            first[i], right[i], down[i] = spot(column, line, columns, rows)
            within = unit(column + F(1)) * unit(F(columns) - column) * unit(line + F(1)) * unit(F(rows) - line)
            shown[i] = layer[row, i] * within
        for i in range(width):
            if shown[i] != F(0):
                shown[i] *= blend(there, columns, first[i], right[i], down[i], 0)
        for i in range(width):
            seen = (shown[i] > F(0.7)) & (facing[i] > F(GRAZING))  # the same layer lies on top here and there
            changed = eyes_differ & _at_eye(view, u[row, i], v[row, i])
            changed |= mouth_differs & _at_mouth(view, u[row, i], v[row, i])
            visible[row, i] = seen
            selected[row, i] = seen & ~(changed & (layer[row, i] > F(0)))
            flow[0, row, i] = x[i] if seen else centre(i, width)
            flow[1, row, i] = y[i] if seen else centre(row, height)
    return flow, visible, selected


@point
def _at_eye(view, u, v):
    """Whether a point of the face belongs to an eye."""
    across, down = (abs(u) - view.eye_u) / (F(1.3) * view.eye_half_u), (v - view.eye_v) / (F(1.3) * view.eye_half_v)
    return across * across + down * down < F(1)


@point
def _at_mouth(view, u, v):
    """Whether a point of the face belongs to the lips."""
    across, down = u / (F(1.2) * view.mouth_half), (v - view.mouth_v) / (F(1.9) * view.lip)
    return across * across + down * down < F(1)
