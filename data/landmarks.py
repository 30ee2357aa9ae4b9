"""Facial landmarks of aligned photos: reading them, and the smooth flow between two photos that they give."""

import csv
from pathlib import Path

import numpy as np

from refstar.utils.errors import RefStarError

from .geometry import enlarge, pixel_grid

# Points on the frame that stay where they are, so that the flow fades out towards the border.
FRAME = np.array([(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)], np.float64)
GRID = 24  # cells of the coarse grid on which the spline is evaluated; it is smooth
STIFFNESS = 1e-3  # of the thin plate: detectors err by a few per cent of the eye distance


class Landmarks:
    """Points per photo, found by the file's path.

    Args:
        path: `.npz` with `names` (n,) and `points` (n, K, 2), or a csv with the columns `name, x0, y0, x1, y1, ...`.
            Names are paths relative to one of `roots`; points are shares of the image side, 5 to 68 a photo.
        roots: folders of the photos.

    Raises:
        RefStarError: the file cannot be read or has another form.
    """

    def __init__(self, path: str | Path, roots: list[Path]):
        self.roots = [root.expanduser().absolute() for root in roots]
        names, points = _read(Path(path).expanduser())
        if points.ndim != 3 or points.shape[2] != 2 or not 5 <= points.shape[1] <= 68 or len(names) != len(points):
            raise RefStarError(f'{path}: expected n names and points of shape (n, 5 to 68, 2), got {points.shape}')
        if not np.isfinite(points).all() or np.abs(points - 0.5).max(initial=0) > 1:
            raise RefStarError(f'{path}: points must be shares of the image side, 0 to 1')
        self._points = dict(zip(names, points.astype(np.float32), strict=True))

    def __call__(self, photo: Path) -> np.ndarray | None:
        """Return the points of a photo, (K, 2), or None where the file has none for it."""
        photo = photo.expanduser().absolute()
        for root in self.roots:
            if photo.is_relative_to(root) and photo.relative_to(root).as_posix() in self._points:
                return self._points[photo.relative_to(root).as_posix()]
        return None


def fit_positions(gt: np.ndarray, ref: np.ndarray, size: int, stiffness: float = STIFFNESS) -> np.ndarray:
    """Return for every pixel of the GT its position in the reference, by a thin-plate spline through the landmarks.

    Args:
        gt, ref: the same K landmarks in both photos, (K, 2), shares of the side.
        size: side of the images in pixels.
        stiffness: 0 goes through every point; more smooths their errors out.

    Returns:
        A position map, (size, size, 2), float32, in pixels.
    """
    start = np.concatenate([gt.astype(np.float64), FRAME])
    shift = np.concatenate([(ref - gt).astype(np.float64), np.zeros_like(FRAME)])
    count = len(start)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _plate(start, start) + stiffness * np.eye(count)
    system[:count, count:] = np.insert(start, 0, 1, axis=1)
    system[count:, :count] = system[:count, count:].T
    weights = np.linalg.solve(system, np.concatenate([shift, np.zeros((3, 2))]))

    axis = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    nodes = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    bent = _plate(nodes, start.astype(np.float32)) @ weights[:count].astype(np.float32)
    field = (bent + np.insert(nodes, 0, 1, axis=1) @ weights[count:]) * size
    return pixel_grid(size) + enlarge(field.astype(np.float32).reshape(GRID, GRID, 2), size)


def _plate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return r^2 log r^2 between all pairs of two sets of points, the thin plate's kernel."""
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    np.maximum(squared, 1e-9, out=squared)
    return squared * np.log(squared)


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    """Read names (n,) and points (n, K, 2)."""
    try:
        if path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as file:
                return [str(name) for name in file['names']], np.asarray(file['points'], np.float32)
        with open(path, encoding='utf-8-sig', newline='') as file:
            header, *rows = [row for row in csv.reader(file) if row]
        points = np.array([[float(v) for v in row[1:]] for row in rows], np.float32)
        return [row[0] for row in rows], points.reshape(len(rows), (len(header) - 1) // 2, 2)
    except (OSError, KeyError, ValueError, csv.Error) as error:
        form = 'npz with names and points, or csv with name, x0, y0, x1, y1, ...'
        raise RefStarError(f'{path}: no readable {form} ({error})') from None
