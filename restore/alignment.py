"""A face cut out of its photo, upright and square, as FFHQ has them; and pasted back.

A *matrix* (2, 3) leads from pixels of the photo to pixels of the crop (a turn, a scale, a shift).
"""

from functools import lru_cache

import cv2
import numpy as np

from refstar.data.face_region import face_oval
from refstar.identity_arch import FFHQ_512
from refstar.utils.face_points import similarity

MOST_SAMPLES = 4096  # side of the supersampled crop: what a crop may take of memory
AREAS = ('face', 'square')


def template(size: int) -> np.ndarray:
    """The five points of a crop, (5, 2), in pixels."""
    return np.array(FFHQ_512) * (size / 512)


def cut(photo: np.ndarray, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a face out.

    Args:
        photo: uint8 (H, W, 3).
        points: five points in pixels of the photo, (5, 2).
        size: side of the crop.

    Returns:
        The crop, uint8 (size, size, 3), averaged where the photo has more pixels, mirrored beyond its edge; and the
        matrix.
    """
    matrix = similarity(points, template(size))
    over = int(np.clip(np.ceil(side_in_photo(matrix, size) / size), 1, max(1, MOST_SAMPLES // size)))
    fine = _zoom(matrix, over)
    img = cv2.warpAffine(photo, fine, (size * over,) * 2, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return (cv2.resize(img, (size, size), interpolation=cv2.INTER_AREA) if over > 1 else img), matrix


def side_in_photo(matrix: np.ndarray, size: int) -> float:
    """Side of a crop in pixels of the photo."""
    return float(size / np.sqrt(np.linalg.det(matrix[:, :2])))


def paste(photo: np.ndarray, face: np.ndarray, matrix: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Puts a crop back where it was cut out.

    Args:
        photo: uint8 (H, W, 3); changed in place. Where the mask is 0 not a bit of it changes.
        face: restored crop, uint8 (S, S, 3).
        matrix: of :func:`cut`.
        mask: how much of the crop to take, (S, S) in [0, 1], 0 along its border (see :func:`feather`).

    Returns:
        The part of the mask that lies in the photo, float32 (H, W).
    """
    size = len(face)
    side = max(1, round(side_in_photo(matrix, size)))
    if side < size:  # the photo has fewer pixels than the crop: averaging first avoids aliasing
        face, mask = (cv2.resize(img, (side, side), interpolation=cv2.INTER_AREA) for img in (face, mask))
        matrix = _zoom(matrix, side / size)
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)]) * (len(face) - 1)
    back = cv2.invertAffineTransform(matrix)
    corners = corners @ back[:, :2].T + back[:, 2]
    area = np.zeros(photo.shape[:2], np.float32)
    limit = np.array(photo.shape[1::-1])
    left, top = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, limit)
    right, bottom = np.clip(np.ceil(corners.max(0)).astype(int) + 2, 0, limit)
    if right <= left or bottom <= top:
        return area
    back[:, 2] -= left, top
    window = (right - left, bottom - top)
    brought = cv2.warpAffine(face, back, window, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(mask, back, window, flags=cv2.INTER_LINEAR, borderValue=0).clip(0, 1)
    there = photo[top:bottom, left:right]
    there[:] = np.rint(there + weight[..., None] * (brought.astype(np.float32) - there)).astype(np.uint8)
    area[top:bottom, left:right] = weight
    return area


@lru_cache(maxsize=8)
def feather(size: int, area: str = 'face') -> np.ndarray:
    """Which part of a crop is pasted: 1 inside, falling smoothly to 0. (size, size), float32.

    Args:
        size: side of the crop.
        area: `face`: forehead to chin; `square`: the whole crop, hair and all.
    """
    soft = 2 * max(1, size // 32) + 1  # odd: an even window would move the mask
    if area == 'face':
        inner = cv2.erode(face_oval(size), np.ones((2 * (soft // 4) + 1,) * 2))
    else:
        inner = np.zeros((size, size), np.float32)
        inner[2 * soft : -2 * soft, 2 * soft : -2 * soft] = 1
    mask = cv2.blur(cv2.blur(inner, (soft, soft)), (soft, soft))
    mask[[0, -1]] = mask[:, [0, -1]] = 0
    mask.flags.writeable = False
    return mask


def _zoom(matrix: np.ndarray, factor: float) -> np.ndarray:
    """The matrix to a crop of `factor` times the side; pixel centres are whole numbers."""
    matrix = matrix * factor
    matrix[:, 2] += (factor - 1) / 2
    return matrix
