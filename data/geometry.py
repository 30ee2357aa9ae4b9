"""Positions and warps on the pixel grid.

A *position map* has shape (S, S, 2), float32: for every pixel of one image the (x, y) pixel position in another one;
pixel centres are whole numbers. A *flow* is the same in the [-1, 1] of `grid_sample(align_corners=False)`.
"""

from functools import lru_cache

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

# Points on the frame that stay where they are, so that the flow fades out towards the border.
FRAME = np.array([(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)], np.float64)
GRID = 24  # cells of the coarse grid on which the spline is evaluated; it is smooth
STIFFNESS = 5e-4  # of the thin plate: detectors err by a few per cent of the eye distance


@lru_cache(maxsize=8)
def pixel_grid(size: int) -> np.ndarray:
    """Return every pixel's own position, shape (size, size, 2); read-only."""
    axis = np.arange(size, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), -1)
    grid.flags.writeable = False
    return grid


@lru_cache(maxsize=8)
def unit_grid(size: int) -> np.ndarray:
    """Return every pixel's own position in [-1, 1] (corners of the image, not centres), (size, size, 2); read-only."""
    grid = to_flow(pixel_grid(size))
    grid.flags.writeable = False
    return grid


def to_flow(positions: np.ndarray) -> np.ndarray:
    """Convert pixel positions (S, S, 2) to `grid_sample(align_corners=False)` coordinates."""
    return (2 * positions + 1) / np.float32(positions.shape[0]) - 1


def to_positions(flow: np.ndarray) -> np.ndarray:
    """Invert `to_flow`."""
    return ((flow + 1) * np.float32(flow.shape[0]) - 1) / 2


def warp(img: np.ndarray, positions: np.ndarray, smooth: bool = True) -> np.ndarray:
    """Fetch `img` (S, S[, c]) at positions, mirrored outside the frame; `smooth`: cubic (pictures), else linear."""
    mode = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    return cv2.remap(img, positions, None, mode, borderMode=cv2.BORDER_REFLECT_101)


def invert(positions: np.ndarray, steps: int = 12, polish: int = 3) -> np.ndarray:
    """Return the position map of the way back, by fixed-point iteration: f(p) = p - d(f(p)) where positions = q + d(q).

    Exact where the map is smooth and its displacement changes by less than a pixel per pixel; `returns` tells where.

    First `steps` iterations on a grid four times as coarse, which cost a sixteenth, then `polish` on the full one.
    """
    size = positions.shape[0]
    coarse = max(8, size // 4)
    shift = positions - pixel_grid(size)
    small = cv2.resize(shift, (coarse, coarse), interpolation=cv2.INTER_AREA) * np.float32(coarse / size)
    guess = cv2.resize(_iterate(small, -small, steps), (size, size), interpolation=cv2.INTER_LINEAR)
    return pixel_grid(size) + _iterate(shift, guess * np.float32(size / coarse), polish)


def _iterate(shift: np.ndarray, back: np.ndarray, steps: int) -> np.ndarray:
    """Apply `steps` times back(p) = -shift(p + back(p)): displacements on one grid, (s, s, 2)."""
    grid = pixel_grid(shift.shape[0])
    for _ in range(steps):
        back = -cv2.remap(shift, grid + back, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return back


def inside(positions: np.ndarray) -> np.ndarray:
    """Return where positions lie between the outermost pixel centres; (S, S) bool."""
    x, y = cv2.split(positions)
    slack = 0.01  # rounding
    last = positions.shape[0] - 1 + slack
    return (x >= -slack) & (x <= last) & (y >= -slack) & (y <= last)


def returns(there: np.ndarray, back: np.ndarray, tolerance: float = 0.5) -> np.ndarray:
    """Return where going there and back ends within `tolerance` pixels of the start, inside the frame; (S, S) bool."""
    trip = cv2.remap(back, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    x, y = cv2.split(cv2.absdiff(trip, pixel_grid(there.shape[0])))
    return inside(there) & (x <= tolerance) & (y <= tolerance)


def area_ratio(positions: np.ndarray) -> np.ndarray:
    """Return how many pixels over there one pixel covers, (S, S); negative where the map folds."""
    dy, dx = (np.gradient(positions, axis=axis) for axis in (0, 1))
    return dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]


def enlarge(field: np.ndarray, size: int) -> np.ndarray:
    """Enlarge a coarse field (s, s, c) to (size, size, c), with smooth derivatives: linear, then a mean over one cell.

    OpenCV's cubic leaves ripples in the derivatives, which `area_ratio` would show.
    """
    cell = max(1, size // field.shape[0])
    return cv2.blur(cv2.resize(field, (size, size), interpolation=cv2.INTER_LINEAR), (cell, cell))


def fit_positions(gt: np.ndarray, ref: np.ndarray, size: int, stiffness: float = STIFFNESS) -> np.ndarray:
    """Return for every pixel of the GT its position in the reference, by a thin-plate spline through the landmarks.

    Args:
        gt, ref: the same K landmarks in both photos, (K, 2), shares of the side.
        size: side of the images in pixels.
        stiffness: 0 goes through every point; more smooths their errors out.

    Returns:
        A position map, (size, size, 2), float32, in pixels.
    """
    start, shift = np.concatenate([gt, FRAME]), np.concatenate([ref - gt, np.zeros_like(FRAME)])
    axis = (np.arange(GRID) + 0.5) / GRID
    nodes = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    spline = RBFInterpolator(start, shift, smoothing=stiffness, kernel='thin_plate_spline')
    field = spline(nodes).astype(np.float32).reshape(GRID, GRID, 2)
    return pixel_grid(size) + enlarge(field * np.float32(size), size)


def smooth_warp(size: int, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Draw a smooth map such as another photo of the same face would give, shape (size, size, 2).

    Small turn, scale, shift and perspective; a bulge that moves the middle of the face against its border, as turning
    the head does; and a low-frequency field for the expression. The bulge reaches 8 % of the side at strength 1.
    """
    coarse = max(8, size // 4)
    xy = unit_grid(coarse)
    angle, log_scale, shear = rng.uniform(-1, 1, 3) * (0.14, 0.08, 0.05) * strength
    cos, sin, zoom = np.cos(angle), np.sin(angle), np.exp(log_scale)
    matrix = (zoom * np.array([[cos, shear - sin], [sin, cos + shear]])).astype(np.float32)
    tilt = rng.uniform(-0.06, 0.06, 2).astype(np.float32) * strength
    move = rng.uniform(-0.08, 0.08, 2).astype(np.float32) * strength
    turn = rng.uniform(-0.16, 0.16, 2).astype(np.float32) * strength
    x, y = cv2.split(xy)
    bulge = np.exp(-(x * x + y * y) / np.float32(2 * 0.5**2))
    waves = rng.normal(0, 0.025 * strength, (5, 5, 2)).astype(np.float32)
    waves = cv2.resize(waves, (coarse, coarse), interpolation=cv2.INTER_CUBIC)
    out = (
        cv2.transform(xy, matrix) / (1 + x * tilt[0] + y * tilt[1])[..., None] + move + bulge[..., None] * turn + waves
    )
    return pixel_grid(size) + enlarge((out - xy) * np.float32(size / 2), size)
