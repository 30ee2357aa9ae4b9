"""Masks of an aligned face: regions by name, pictures of masks, and which pixels came from which reference.

Regions (`--use eyes,skin`, `--keep mouth`) are drawn around five points (eyes, nose, corners of the mouth) in units of
the distances between them. They are generous: a part and what moves with it. No face parsing network is needed.
"""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from refstar.data.face_region import face_oval
from refstar.utils.errors import RefStarError, nearest

from .alignment import template

REGIONS = ('eyes', 'brows', 'nose', 'mouth', 'skin', 'face', 'outside', 'glasses')  # outside: hair and background
SOFT = 1 / 64  # blur of an outline, as a share of the side


def check_regions(names: Sequence[str], what: str) -> None:
    """Raise RefStarError where a name is no region."""
    for name in names:
        if name not in REGIONS:
            raise RefStarError(f'{what}: no part {name!r}{nearest(name, REGIONS)}; there are {", ".join(REGIONS)}')


def allowed_area(use: Sequence[str], keep: Sequence[str], points: np.ndarray | None, size: int) -> np.ndarray:
    """Return where a reference may be used, float32 (size, size) in [0, 1], with soft outlines inside the regions.

    Args:
        use: names of regions; none: everything.
        keep: regions that references may not change; they win over `use`.
        points: five points of the reference in pixels of its crop, (5, 2); None: where the alignment puts them.
    """
    regions = _draw_regions(template(size) if points is None else points, size)
    allowed = np.ones((size, size), np.float32)
    if use:
        allowed = np.max([regions[name] for name in use], 0).astype(np.float32)
    for name in keep:
        allowed *= 1 - regions[name]
    sigma = max(0.5, SOFT * size)
    reach = 2 * round(2 * sigma) + 1
    return cv2.GaussianBlur(cv2.erode(allowed, np.ones((reach, reach))), (0, 0), sigma) * allowed


def _draw_regions(points: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Draw every region, (size, size) uint8 0/1."""
    left, right, nose, *corners = points
    eyes, mouth = (left + right) / 2, (corners[0] + corners[1]) / 2
    apart = float(np.linalg.norm(right - left))
    across = (right - left) / max(apart, 1e-6)
    down = np.array([-across[1], across[0]])
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    width = float(np.linalg.norm(corners[1] - corners[0]))
    ellipses = {  # region: (middle, half width, half height) of each ellipse
        'eyes': [(eye, 0.30 * apart, 0.18 * apart) for eye in (left, right)],
        'brows': [(eye - 0.30 * apart * down, 0.36 * apart, 0.14 * apart) for eye in (left, right)],
        'nose': [(0.75 * nose + 0.25 * eyes, 0.27 * apart, 0.48 * apart)],
        'mouth': [(mouth, 0.68 * width, 0.42 * width)],
        'glasses': [(eye, 0.48 * apart, 0.36 * apart) for eye in (left, right)] + [(eyes, 0.3 * apart, 0.12 * apart)],
    }
    regions = {}
    for name, shapes in ellipses.items():
        regions[name] = np.zeros((size, size), np.uint8)
        for middle, half_width, half_height in shapes:
            box = (tuple(map(float, middle)), (2 * half_width, 2 * half_height), angle)
            cv2.ellipse(regions[name], box, 1, -1)
    regions['face'] = (face_oval(size) > 0).astype(np.uint8)
    inner = sum(regions[name] for name in ('eyes', 'brows', 'nose', 'mouth'))
    regions['skin'] = regions['face'] * (inner == 0) | regions['nose'] * (regions['mouth'] == 0)
    regions['outside'] = 1 - regions['face']
    return regions


def fit_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Return a square mask at another size, float32 (size, size)."""
    if mask.shape != (size, size):
        mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA if len(mask) > size else cv2.INTER_LINEAR)
    return np.ascontiguousarray(mask, dtype=np.float32)


def overlay(crop: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw a selection over its reference in green; uint8 (S, S, 3) and float32 (S, S)."""
    weight = 0.5 * mask[..., None]
    return np.rint(crop * (1 - weight) + np.array([0, 200, 80], np.float32) * weight).clip(0, 255).astype(np.uint8)


def reference_colours(count: int) -> np.ndarray:
    """Return a colour for every reference, (count, 3), RGB, uint8."""
    rows = [colorsys.hsv_to_rgb(i / max(count, 1), 0.85, 1.0) for i in range(count)]
    return (np.array(rows).reshape(count, 3) * 255).astype(np.uint8)


def attribution_map(image: np.ndarray, attribution: np.ndarray) -> np.ndarray:
    """Draw which pixels came from which reference: a face, uint8 (S, S, 3), in grey, tinted by shares (n, S, S)."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    tint = np.einsum('nhw,nc->hwc', attribution, reference_colours(len(attribution)).astype(np.float32))
    total = attribution.sum(0)[..., None]
    return np.rint(grey * (1 - 0.6 * total) + 0.6 * tint).clip(0, 255).astype(np.uint8)
