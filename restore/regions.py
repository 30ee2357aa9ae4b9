"""Parts of an aligned face by name, for saying where a reference may be used: `--use eyes,skin`, `--keep mouth`.

The parts are drawn around five points (eyes, nose, corners of the mouth), in units of the distances between them. They
are generous: a part and what moves with it. No face parsing network is needed.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from refstar.data.face_region import face_oval
from refstar.utils.errors import RefStarError, nearest

from .alignment import template

NAMES = ('eyes', 'brows', 'nose', 'mouth', 'skin', 'face', 'outside', 'glasses')  # outside: hair and background
SOFT = 1 / 64  # blur of an outline, of the side


def _ellipse(mask: np.ndarray, middle: np.ndarray, half: tuple[float, float], angle: float) -> None:
    cv2.ellipse(mask, (tuple(map(float, middle)), (2 * half[0], 2 * half[1]), angle), 1, -1)


def _parts(points: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Every part, (size, size) uint8 0/1."""
    left, right, nose, *corners = points
    eyes, mouth = (left + right) / 2, (corners[0] + corners[1]) / 2
    apart = float(np.linalg.norm(right - left))
    across = (right - left) / max(apart, 1e-6)
    down = np.array([-across[1], across[0]])
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    width = float(np.linalg.norm(corners[1] - corners[0]))
    shapes = {
        'eyes': [(eye, (0.30 * apart, 0.18 * apart)) for eye in (left, right)],
        'brows': [(eye - 0.30 * apart * down, (0.36 * apart, 0.14 * apart)) for eye in (left, right)],
        'nose': [((0.75 * nose + 0.25 * eyes), (0.27 * apart, 0.48 * apart))],
        'mouth': [(mouth, (0.68 * width, 0.42 * width))],
        'glasses': [(eye, (0.48 * apart, 0.36 * apart)) for eye in (left, right)]
        + [(eyes, (0.3 * apart, 0.12 * apart))],
    }
    parts = {}
    for name, ellipses in shapes.items():
        parts[name] = np.zeros((size, size), np.uint8)
        for middle, half in ellipses:
            _ellipse(parts[name], middle, half, angle)
    parts['face'] = (face_oval(size) > 0).astype(np.uint8)
    inner = sum(parts[name] for name in ('eyes', 'brows', 'nose', 'mouth'))
    parts['skin'] = parts['face'] * (inner == 0) | parts['nose'] * (parts['mouth'] == 0)
    parts['outside'] = 1 - parts['face']
    return parts


def check_names(names: Sequence[str], what: str) -> None:
    """Raises RefStarError where a name is no part."""
    for name in names:
        if name not in NAMES:
            raise RefStarError(f'{what}: no part {name!r}{nearest(name, NAMES)}; there are {", ".join(NAMES)}')


def region(use: Sequence[str], keep: Sequence[str], points: np.ndarray | None, size: int) -> np.ndarray:
    """Where a reference may be used.

    Args:
        use: names of parts; none: everything.
        keep: parts that references may not give; they win over `use`.
        points: five points of the reference in pixels of its crop, (5, 2); None: where the alignment puts them.
        size: side of the crop.

    Returns:
        float32 (size, size) in [0, 1], with soft outlines inside the parts.
    """
    parts = _parts(template(size) if points is None else points, size)
    allowed = np.ones((size, size), np.float32)
    if use:
        allowed = np.max([parts[name] for name in use], 0).astype(np.float32)
    for name in keep:
        allowed *= 1 - parts[name]
    sigma = max(0.5, SOFT * size)
    reach = 2 * round(2 * sigma) + 1
    return cv2.GaussianBlur(cv2.erode(allowed, np.ones((reach, reach))), (0, 0), sigma) * allowed
