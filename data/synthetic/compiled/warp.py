"""Grids of displacements of the canonical plane: where to look in them, and the inverse of one."""

from __future__ import annotations

import numpy as np

from ...compiler import F, loop, point
from ..expression_warp import WARP_CELLS, WARP_HIGH, WARP_LOW
from .lookup import blend, spot


@point
def warp_spot(u, v):
    """Where to look for a canonical point in a grid of displacements."""
    column = (u - F(WARP_LOW[0])) * F((WARP_CELLS - 1) / (WARP_HIGH[0] - WARP_LOW[0]))
    row = (v - F(WARP_LOW[1])) * F((WARP_CELLS - 1) / (WARP_HIGH[1] - WARP_LOW[1]))
    return spot(column, row, WARP_CELLS, WARP_CELLS)


@loop
def inverse(forward, rounds):
    """The grid of E from the grid of D, (cells * cells, 2): ``E(p) = D(p - E(p))``, damped as a mouth opens steeply."""
    back, cells = forward.copy(), WARP_CELLS
    first, right, down = np.empty(cells, np.int32), np.empty(cells, F), np.empty(cells, F)
    for _ in range(rounds):
        for row in range(cells):
            here = row * cells
            v = F(WARP_LOW[1]) + F(row) * F((WARP_HIGH[1] - WARP_LOW[1]) / (cells - 1))
            for i in range(cells):
                u = F(WARP_LOW[0]) + F(i) * F((WARP_HIGH[0] - WARP_LOW[0]) / (cells - 1))
                first[i], right[i], down[i] = warp_spot(u - back[here + i, 0], v - back[here + i, 1])
            for i in range(cells):
                for k in range(2):
                    there = blend(forward, cells, first[i], right[i], down[i], k)
                    back[here + i, k] = F(0.25) * back[here + i, k] + F(0.75) * there
    return back
