"""Landmarks of aligned photos: where the face is, and whether mouth and eyes are in the same state in two photos.

Points are (K, 2), (x, y) as shares of the image side (0 at the outer edge, 1 at the other). Areas of single parts need
the usual 68 points: 0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes, 48-59 outer and 60-67 inner lips.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from refstar.utils.errors import RefStarError

EYES = (slice(36, 42), slice(42, 48))
MOUTH = slice(48, 68)

OPEN_DIFFERENCE = 0.12  # of the inner lips' height over their width: closed lips give 0 to 0.08
WIDTH_DIFFERENCE = 0.15  # of the mouth's width over the distance of the eyes, relative: a smile against a rest
CLOSED_EYE = 0.16  # height over width of an eye that counts as closed


@lru_cache(maxsize=8)
def face_oval(size: int) -> np.ndarray:
    """Return the face of the FFHQ alignment without landmarks: an oval from forehead to chin. (S, S), float32 0/1."""
    oval = np.zeros((size, size), np.uint8)
    box = ((0.5 * size - 0.5, 0.57 * size - 0.5), (0.53 * size, 0.67 * size), 0)
    cv2.ellipse(oval, box, 1, -1)
    oval = oval.astype(np.float32)
    oval.flags.writeable = False
    return oval


def face_area(points: np.ndarray | None, size: int) -> np.ndarray:
    """Return the face: hull of jaw and raised brows where there are 68 points, else the oval. (S, S), float32 0/1."""
    if points is None or len(points) != 68:
        return face_oval(size)
    up = (points[27] - points[8]) * 0.22  # from the chin to the nose's root: the lower forehead above the brows
    return fill_hull(np.concatenate([points[:17], points[17:27], points[17:27] + up]), size)


def fill_hull(points: np.ndarray, size: int, grow: float = 1.0) -> np.ndarray:
    """Return the convex hull of points, grown about its middle. (S, S), float32 0/1."""
    middle = points.mean(0)
    pixels = ((points - middle) * grow + middle) * size - 0.5
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(pixels).astype(np.int32)), 1)
    return mask.astype(np.float32)


def conflicts(gt: np.ndarray | None, ref: np.ndarray | None) -> list[tuple[slice, float]]:
    """Return the parts whose state differs between two photos, so that the reference must not be used there.

    Each is (points of the part, growth of their hull), for the mouth and each eye. Without 68 points nothing is known.
    """
    if gt is None or ref is None or len(gt) != 68 or len(ref) != 68:
        return []
    widths = [mouth_width(points) for points in (gt, ref)]
    opens = abs(mouth_opening(gt) - mouth_opening(ref)) > OPEN_DIFFERENCE
    found = [(MOUTH, 1.3)] if opens or max(widths) > (1 + WIDTH_DIFFERENCE) * min(widths) else []
    found += [(eye, 1.6) for eye in EYES if (eye_opening(gt[eye]) < CLOSED_EYE) != (eye_opening(ref[eye]) < CLOSED_EYE)]
    return found


def mouth_opening(points: np.ndarray) -> float:
    """Return the mean gap of the inner lips over their width; 0 is a closed mouth."""
    gap = np.linalg.norm(points[61:64] - points[[67, 66, 65]], axis=1).mean()
    return float(gap / max(np.linalg.norm(points[60] - points[64]), 1e-6))


def mouth_width(points: np.ndarray) -> float:
    """Return the width of the mouth over the distance of the eyes' middles."""
    eyes = np.linalg.norm(points[EYES[0]].mean(0) - points[EYES[1]].mean(0))
    return float(np.linalg.norm(points[48] - points[54]) / max(eyes, 1e-6))


def eye_opening(eye: np.ndarray) -> float:
    """Return the height over width of one eye, from its six points."""
    height = np.linalg.norm(eye[[1, 2]] - eye[[5, 4]], axis=1).mean()
    return float(height / max(np.linalg.norm(eye[0] - eye[3]), 1e-6))


class Landmarks:
    """Points per photo, found by the file's path.

    Args:
        path: `.npz` with `names` (n,) and `points` (n, K, 2). Names are paths relative to one of
            `roots`; points are shares of the image side, 5 to 68 a photo.
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


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    """Read names (n,) and points (n, K, 2)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return [str(name) for name in file['names']], np.asarray(file['points'], np.float32)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise RefStarError(f'{path}: no readable npz with names and points ({error})') from None
