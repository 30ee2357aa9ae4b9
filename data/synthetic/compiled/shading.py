"""What one photo adds to a person, point by point: light, what lies behind the face, lids and mouth, glasses."""

from __future__ import annotations

import math

from ...compiler import F, point
from .geometry import unit


@point
def shade(view, x, y, z, gloss):
    """Wrapped diffuse light and a broad highlight, for an unnormalised normal in the camera's axes.

    With n the normal, l the light and h half-way between light and camera:
    ``1 + contrast * (0.205 * (1 + n.l)^2 - 0.66) + gloss * (n.h)^16``.
    """
    norm = F(1) / math.sqrt(x * x + y * y + z * z)
    towards = (x * view.light_x + y * view.light_y + z * view.light_z) * norm
    shine = (towards + z * norm) / math.sqrt(F(2) + F(2) * view.light_z)
    for _ in range(4):
        shine *= shine
    wrap = (F(1) + towards) * (F(1) + towards)
    return F(1) + view.contrast * (F(0.205) * wrap - F(0.66)) + gloss * view.gloss * shine


@point
def behind(view, s, t, edge, mane_end):
    """Opacity and brightness of what lies behind the face, from front to back: ears, clothes, neck, hair."""
    beside = s + F(0.12) * view.sin_yaw  # an ear on either side, wider on the side that is turned here
    away = abs(beside) - F(0.99) * view.cos_yaw - F(0.02)
    away *= F(7.7) - F(4.5) * view.sin_yaw * (F(1) if beside > F(0) else F(-1))
    down = (t - F(0.05) + F(0.25) * view.sin_pitch) / F(0.24)
    distance = math.sqrt(away * away + down * down)
    ears = unit((F(1) - distance) * edge * F(0.13) + F(0.5))

    middle = s - F(0.1) * view.sin_yaw
    across, square, below, above = abs(middle), middle * middle, unit(t - F(0.9)), min(t, F(0))
    clothes = unit((t - F(0.2) * across - F(1.1)) * edge + F(0.5))
    neck = unit(min(F(0.56) - across + below * below, t) * edge + F(0.5))
    hair = unit(min(view.hair_radius - math.sqrt(above * above + square), mane_end - t) * edge + F(0.5))
    return (
        (ears, min(max(F(0.5) * distance + F(0.45), F(0.5)), F(0.9))),
        (clothes, F(1) - F(0.25) * across),
        (neck, F(0.5) + F(0.6) * below - F(0.1) * square),
        (hair, F(0.55)),
    )


@point
def lid(view, u, v, soft):
    """How much of a point of the face a lid covers, and what the shadow at its edge leaves of the light.

    The lid's edge is a parabola between the corners of the eye, high when the eye is open and low when it is closed.
    """
    du, dv = (abs(u) - view.eye_u) / view.eye_half_u, v - view.eye_v
    across = F(1) - F(0.86) * du * du
    if across <= F(0) or abs(dv) > F(0.2):
        return F(0), F(1)
    line = across * view.eye_half_v * (F(0.75) - F(1.75) * view.eyes)
    closed = unit((line - dv) * soft + F(0.5)) * unit((dv + F(1.25) * view.eye_half_v * across) * soft)
    off = (dv - line) / F(0.016)
    return closed, F(1) - F(0.8) * math.exp(-off * off) * min(F(3) * across, F(1))


@point
def gape(view, u, v, soft):
    """How much of a point of the face is the inside of the open mouth, an ellipse, and how much of that is teeth."""
    reach, down = u / (F(0.92) * view.mouth_half), v - view.mouth_v
    across = F(1) - reach * reach
    if across <= F(0) or abs(down) > F(0.2):
        return F(0), F(0)
    gap = F(0.62) * view.lip * min(F(1), F(0.35) + view.mouth) * math.sqrt(across)
    teeth = unit((-down - F(0.15) * gap) * soft * F(1.5) + F(0.5)) * unit(F(2) * across - F(0.4))
    return unit((gap - abs(down)) * soft * F(1.3) + F(0.5)), teeth


@point
def spectacles(view, glasses, u, v, soft):
    """How much of a point of the undisplaced face the frame of glasses covers, and whether it lies behind a lens.

    A lens is a superellipse of exponent 2 (round) or 4, bridge and temples are a bar.
    """
    side = abs(u)
    du, dv = (side - view.eye_u) / glasses.wide, (v - view.eye_v - F(0.02)) / glasses.high
    du, dv = du * du, dv * dv
    ring = math.sqrt(du + dv if glasses.round > F(0) else math.sqrt(du * du + dv * dv))
    frame = unit((F(0.016) - abs(ring - F(1)) * min(glasses.wide, glasses.high)) * soft + F(0.5))
    if abs(side - view.eye_u) > glasses.wide:
        frame = max(frame, unit((F(0.014) - abs(v - view.eye_v + F(0.03))) * soft + F(0.5)))
    return frame, ring < F(1)
