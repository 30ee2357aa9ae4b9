"""The loops of `blur.py`, compiled: import from here inside functions only, see `compiler.py`.

Rows of an image hold their pixels' three colours side by side: (H, 3 W). Numbers of taps are multiples of 4.
"""

from __future__ import annotations

import numpy as np

from .compiler import F, loop, point


@loop
def products(img, lines, columns, rows, edge, spare, width):
    """Filters with a sum of products of columns and rows, at the wanted lines alone.

    Args:
        img: (H, 3 W) float32.
        lines: (h, a) lines of the image under each line of the result.
        columns: (r, h, a) their weights.
        rows: (r, b) filters along the lines.
        edge: (2, d) places that are mirrored to the left of place 0, from there outwards, and right of the last.
        spare: 0; or 2 to enlarge the result to `width`, twice as wide, by cubic interpolation. Half of a filter and
            `spare` together are d.
        width: W if `spare` is 0.

    Returns:
        (h, 3 width) float32.
    """
    terms, height, taps = columns.shape
    inner, reach = img.shape[1], 3 * edge.shape[1]
    length = inner + 6 * spare
    out = np.empty((height, 3 * width), F)
    line, narrow = np.zeros(inner + 2 * reach + 12, F), np.empty(length, F)
    middle = line[reach : reach + inner]
    for i in range(height):
        blurred = narrow if spare else out[i]
        blurred[:] = F(0)
        for r in range(terms):
            middle[:] = F(0)
            for t in range(0, taps, 4):
                a, b, c, d = lines[i, t], lines[i, t + 1], lines[i, t + 2], lines[i, t + 3]
                _add(middle, columns[r, i, t : t + 4], img[a], img[b], img[c], img[d])
            _mirror(line, inner, edge)
            for t in range(0, rows.shape[1], 4):
                a, b, c, d = line[3 * t :], line[3 * t + 3 :], line[3 * t + 6 :], line[3 * t + 9 :]
                _add(blurred, rows[r, t : t + 4], a, b, c, d)
        if spare:
            _enlarge(narrow[3 * spare :], narrow, out[i])
    return out


@loop
def single_taps(img, lines, shares_down, tap_line, tap_place, upper, lower):
    """Filters with single taps of a kernel, at the wanted lines alone.

    Args:
        img: (H, 3 W') float32, mirrored to both sides by half of the kernel.
        lines: (h, k + 1) lines of the image under each line of the result.
        shares_down: (h, 2) of the kernel, and of the kernel one line further down.
        tap_line: (n,) line of each tap, 0 to k.
        tap_place: (n,) place of each tap in numbers, three for each place.
        upper: (n,) weight of the tap in the kernel.
        lower: (n,) weight of the tap in the kernel one line further down.

    Returns:
        (h, 3 W) float32.
    """
    height = len(lines)
    length = img.shape[1] - 3 * (lines.shape[1] - 2)
    out = np.zeros((height, length), F)
    for i in range(height):
        weights = shares_down[i, 0] * upper + shares_down[i, 1] * lower
        for t in range(0, len(upper), 4):
            a = img[lines[i, tap_line[t]], tap_place[t] :]
            b = img[lines[i, tap_line[t + 1]], tap_place[t + 1] :]
            c = img[lines[i, tap_line[t + 2]], tap_place[t + 2] :]
            d = img[lines[i, tap_line[t + 3]], tap_place[t + 3] :]
            _add(out[i], weights[t : t + 4], a, b, c, d)
    return out


@point
def _add(target, weights, a, b, c, d):
    """Adds four weighted lines, which may be longer."""
    first, second, third, fourth = weights[0], weights[1], weights[2], weights[3]
    for x in range(len(target)):
        target[x] += first * a[x] + second * b[x] + third * c[x] + fourth * d[x]


@point
def _mirror(line, inner, edge):
    """Fills both ends of a line."""
    reach = 3 * edge.shape[1]
    for d in range(edge.shape[1]):
        for c in range(3):
            line[reach - 3 * (d + 1) + c] = line[reach + 3 * edge[0, d] + c]
            line[reach + inner + 3 * d + c] = line[reach + 3 * edge[1, d] + c]


@point
def _enlarge(line, before, out):
    """A line of twice the width: its own values, and between them those of Catmull and Rom.

    `before` is the same line from two places further left on.
    """
    for x in range(len(out) // 6):
        for c in range(3):
            out[6 * x + c] = line[3 * x + c]
            near, far = line[3 * x + c] + line[3 * x + 3 + c], before[3 * x + 3 + c] + line[3 * x + 6 + c]
            out[6 * x + 3 + c] = F(0.5625) * near - F(0.0625) * far
    if len(out) % 6:
        out[-3:] = line[len(out) // 6 * 3 : len(out) // 6 * 3 + 3]
