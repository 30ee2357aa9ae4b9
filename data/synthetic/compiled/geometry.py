"""The maps of `..face`, one point at a time: screen (x, y) <-> the head's disc (s, t) <-> canonical plane (U, V)."""

from __future__ import annotations

import math

from ...compiler import F, point


@point
def centre(index, size):
    """Screen coordinate of a pixel's centre: an entry of `pixel_grid`."""
    return (F(index) + F(0.5)) * (F(2) / F(size)) - F(1)


@point
def unit(x):
    """Clips to [0, 1]."""
    return min(max(x, F(0)), F(1))


@point
def _taper(view, t):
    """How wide the head is at a height, in half widths; a cubic between 1 - temple (t = -1) and 1 - jaw (t = 1)."""
    return F(1) - F(0.5) * t * t * ((view.jaw - view.temple) * t + view.jaw + view.temple)


@point
def screen_to_head(view, x, y):
    """A screen point to the plane in which the head, seen from any side, is the unit disc: (s, t)."""
    x, y = x - view.shift_x, y - view.shift_y
    s = (view.cos_roll * x + view.sin_roll * y) / (view.scale * view.half_width)
    t = (view.cos_roll * y - view.sin_roll * x) / (view.scale * view.half_height)
    return s / _taper(view, t), t


@point
def head_to_screen(view, s, t):
    """The inverse of `screen_to_head`."""
    x, y = s * _taper(view, t) * (view.scale * view.half_width), t * (view.scale * view.half_height)
    return view.cos_roll * x - view.sin_roll * y + view.shift_x, view.sin_roll * x + view.cos_roll * y + view.shift_y


@point
def disc_to_chart(view, s, t, radius):
    """A point of the front of a sphere to the displaced canonical plane (p).

    Turns (s, t, depth) back by pitch and yaw and projects it from the back of the head. Beyond the silhouette the depth
    is mirrored, to stay continuous.
    """
    depth = math.sqrt(abs(s * s + t * t - radius * radius))
    y, z = view.cos_pitch * t - view.sin_pitch * depth, view.sin_pitch * t + view.cos_pitch * depth
    x, z = view.cos_yaw * s - view.sin_yaw * z, view.sin_yaw * s + view.cos_yaw * z
    share = F(2) / (z + radius)
    return view.half_width * x * share, view.half_height * y * share


@point
def chart_to_disc(view, u, v, radius):
    """The inverse of `disc_to_chart`: (s, t) and the cosine of the viewing angle (negative: the far side)."""
    x, y = u / (F(2) * view.half_width), v / (F(2) * view.half_height)
    share = F(2) / (F(1) + x * x + y * y)
    x, y, z = x * share, y * share, share - F(1)
    x, z = view.cos_yaw * x + view.sin_yaw * z, view.cos_yaw * z - view.sin_yaw * x
    y, z = view.cos_pitch * y + view.sin_pitch * z, view.cos_pitch * z - view.sin_pitch * y
    return radius * x, radius * y, z
