"""Looking up values between four neighbours, in two steps: where to look, and the look itself.

The first step is arithmetic alone: a loop of its own over a row of pixels becomes vector instructions.
"""

from __future__ import annotations

import numpy as np

from ...compiler import F, point
from ..face import CHART_HALF

LEVELS = (np.arange(256) / 255).astype(F)  # of bytes: quicker than to convert them


@point
def spot(column, row, width, height):
    """The neighbours' first one in a flat map, and the shares of the right and of the lower ones; clamped."""
    column, row = min(max(column, F(0)), F(width - 1)), min(max(row, F(0)), F(height - 1))
    left, top = np.int32(min(column, F(width - 2))), np.int32(min(row, F(height - 2)))
    return np.int32(top * np.int32(width) + left), column - F(left), row - F(top)


@point
def texel_spot(u, v, density, width, height):
    """Where to look for a canonical point in a texture with `density` texels per unit."""
    column, row = (u + F(CHART_HALF[0])) * density - F(0.5), (v + F(CHART_HALF[1])) * density - F(0.5)
    return spot(column, row, width, height)


@point
def blend(values, width, first, right, down, channel):
    """Value at a spot of float32 values (h * w, channels)."""
    first = np.uint32(first)
    top, low = values[first, channel], values[first + width, channel]
    top += right * (values[first + 1, channel] - top)
    low += right * (values[first + width + 1, channel] - low)
    return top + down * (low - top)


@point
def blend_levels(texture, width, first, right, down, channel):
    """Value in [0, 1] at a spot of a texture (h * w, channels) uint8."""
    first = np.uint32(first)
    top, low = LEVELS[texture[first, channel]], LEVELS[texture[first + width, channel]]
    top += right * (LEVELS[texture[first + 1, channel]] - top)
    low += right * (LEVELS[texture[first + width + 1, channel]] - low)
    return top + down * (low - top)
