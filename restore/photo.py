"""Whole photos: every face is found, cut out, restored with its own person's references, and put back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture

from .alignment import cut, feather, paste
from .detection import FoundFace, most_central
from .face_plan import Plan, Result
from .references import Person
from .restore_settings import Settings
from .restorer import Restorer


@dataclass(frozen=True)
class Layout:
    """How a restored photo is put together.

    Args:
        upscale: factor of its sides.
        background: enlarges the photo, (H, W, 3) uint8 and the factor -> (H * factor, W * factor, 3); None: Lanczos.
        only_center: restore the most central face alone.
        area: `face` or `square`, see :func:`~refstar.restore.alignment.feather`.
        batch: faces restored at a time.
    """

    upscale: float = 1
    background: Callable[[np.ndarray, float], np.ndarray] | None = None
    only_center: bool = False
    area: str = 'face'
    batch: int = 1


@dataclass(frozen=True)
class PhotoResult:
    """A restored photo.

    Args:
        picture: the photo; where `area` is 0 it is the (enlarged) input, bit for bit.
        found: the faces, the largest first.
        faces: what became of each.
        area: how much of each pixel was replaced, float32 (H, W) in [0, 1].
    """

    picture: Picture
    found: list[FoundFace]
    faces: list[Result]
    area: np.ndarray


def cut_faces(restorer: Restorer, rgb: np.ndarray, found: Sequence[FoundFace]) -> tuple[list, list[np.ndarray]]:
    """Measured crops of found faces, and the matrices that lead to them."""
    faces, matrices = [], []
    for one in found:
        crop, matrix = cut(rgb, one.points, restorer.size)
        faces.append(restorer.face(crop, one.points @ matrix[:, :2].T + matrix[:, 2]))
        matrices.append(matrix)
    return faces, matrices


def find_faces(restorer: Restorer, rgb: np.ndarray, only_center: bool) -> list[FoundFace]:
    """The faces of a photo to restore, the largest first.

    Raises:
        RefStarError: the restorer has no detector.
    """
    if restorer.detector is None:
        raise RefStarError('a whole photo needs a face detector: give its file (--detector), or aligned faces')
    found = restorer.detector(rgb)
    return most_central(found, rgb.shape) if only_center else found


def restore_all(restorer: Restorer, plans: Sequence[Plan], settings: Settings, batch: int) -> list[Result]:
    """Restores planned faces, some at a time."""
    parts = [plans[start : start + batch] for start in range(0, len(plans), batch)]
    return [result for part in parts for result in restorer.restore(part, settings)]


def put_back(
    rgb: np.ndarray, results: Sequence[Result], matrices: Sequence[np.ndarray], layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    """The photo, enlarged, with its restored faces; and how much of each pixel was replaced."""
    photo = enlarge(rgb, layout)
    area = np.zeros(photo.shape[:2], np.float32)
    factor = np.array([photo.shape[1] / rgb.shape[1], photo.shape[0] / rgb.shape[0]])
    for result, matrix in zip(results, matrices, strict=True):
        matrix = matrix.copy()  # pixels of the enlarged photo -> of the photo -> of the crop
        matrix[:, 2] += matrix[:, :2] @ (0.5 / factor - 0.5)
        matrix[:, :2] /= factor
        mask = feather(len(result.image), layout.area)
        area = np.maximum(area, paste(photo, result.image, matrix, mask))
    return photo, area


def enlarge(rgb: np.ndarray, layout: Layout) -> np.ndarray:
    """A copy of the photo at the wanted size."""
    if layout.background is not None:
        return layout.background(rgb, layout.upscale)
    if layout.upscale == 1:
        return rgb.copy()
    return resize_by(rgb, layout.upscale)


def resize_by(img: np.ndarray, factor: float) -> np.ndarray:
    """An image or a plane at `factor` times its sides."""
    size = max(1, round(img.shape[1] * factor)), max(1, round(img.shape[0] * factor))
    return cv2.resize(img, size, interpolation=cv2.INTER_LANCZOS4 if factor > 1 else cv2.INTER_AREA)


def restore_photo(
    restorer: Restorer,
    picture: Picture,
    people: Sequence[Person],
    settings: Settings,
    layout: Layout = Layout(),
    prepare: Callable[[Plan, int], Plan] = lambda plan, number: plan,
) -> PhotoResult:
    """Restores a whole photo.

    Args:
        restorer: with a detector.
        picture: the photo.
        people: whose references there are; each face gets those of its own person.
        settings: how faces are restored.
        layout: how the photo is put together.
        prepare: last change to the plan of a face, given with its number.

    Raises:
        RefStarError: there is no detector, or references are refused.
    """
    found = find_faces(restorer, picture.rgb, layout.only_center)
    faces, matrices = cut_faces(restorer, picture.rgb, found)
    plans = [prepare(plan, i) for i, plan in enumerate(restorer.plan(faces, people, settings))]
    results = restore_all(restorer, plans, settings, layout.batch)
    rgb, area = put_back(picture.rgb, results, matrices, layout)
    restored = picture.with_rgb(rgb)
    if picture.alpha is not None and layout.upscale != 1:
        restored = Picture(restored.rgb, resize_by(picture.alpha, layout.upscale), picture.grey, picture.profile)
    return PhotoResult(restored, found, results, area)
