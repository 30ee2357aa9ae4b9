"""Restore whole photos: find every face, restore it with its own person's references, paste it back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture

from .alignment import AREAS, feather, paste
from .faces import Person, RestoredFace, RestoreSettings
from .restorer import Restorer


@dataclass(frozen=True)
class PhotoSettings:
    """How a restored photo is put together.

    Raises:
        RefStarError: a value is out of its range.
    """

    aligned: bool = False  # photos are aligned faces: nothing is detected or pasted
    upscale: float = 1  # factor of the sides
    background: Callable[[np.ndarray, float], np.ndarray] | None = None  # enlarges by a factor; None: Lanczos
    only_center_face: bool = False  # restore the most central face alone
    paste: str = 'face'  # what is pasted, `face` or `square`, see `alignment.feather`
    batch_size: int = 1  # faces restored at a time

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RefStarError(f'--batch_size must be at least 1, got {self.batch_size}')
        if not 0.1 <= self.upscale <= 16:
            raise RefStarError(f'--upscale must be 0.1 to 16, got {self.upscale}')
        if self.aligned and self.upscale != 1:
            raise RefStarError("--upscale: not with --aligned, whose faces have the network's size")
        if self.paste not in AREAS:
            raise RefStarError(f'--paste {self.paste}: unknown; there are {", ".join(AREAS)}')


@dataclass(frozen=True)
class RestoredPhoto:
    """A restored photo."""

    picture: Picture  # where `area` is 0 it is the (enlarged) input, bit for bit
    faces: list[RestoredFace]  # the largest first
    area: np.ndarray  # how much of each pixel was replaced, float32 (H, W) in [0, 1]


def restore_photo(
    restorer: Restorer,
    picture: Picture,
    people: Sequence[Person],
    settings: RestoreSettings,
    photo_settings: PhotoSettings = PhotoSettings(),
) -> RestoredPhoto:
    """Restore a photo; each face gets the references of its own person.

    Raises:
        RefStarError: there is no detector, or references are refused.
    """
    faces = restorer.find_faces(picture, photo_settings.only_center_face, photo_settings.aligned)
    prepared, size = restorer.prepare(faces, people, settings), photo_settings.batch_size
    batches = [prepared[start : start + size] for start in range(0, len(prepared), size)]
    restored = [face for batch in batches for face in restorer.restore(batch, settings)]
    return put_back(picture, restored, photo_settings)


def put_back(
    picture: Picture, faces: Sequence[RestoredFace], photo_settings: PhotoSettings = PhotoSettings()
) -> RestoredPhoto:
    """Paste restored faces into their photo, enlarged; an aligned face takes the place of its photo."""
    if any(face.face.matrix is None for face in faces):
        (only,) = faces
        area = np.ones(only.image.shape[:2], np.float32)
        return RestoredPhoto(replace(picture, alpha=None).with_rgb(only.image), [only], area)
    photo = enlarge(picture.rgb, photo_settings)
    area = np.zeros(photo.shape[:2], np.float32)
    factor = np.array([photo.shape[1] / picture.rgb.shape[1], photo.shape[0] / picture.rgb.shape[0]])
    for face in faces:
        matrix = face.face.matrix.copy()  # pixels of the enlarged photo -> of the photo -> of the crop
        matrix[:, 2] += matrix[:, :2] @ (0.5 / factor - 0.5)
        matrix[:, :2] /= factor
        mask = feather(len(face.image), photo_settings.paste)
        area = np.maximum(area, paste(photo, face.image, matrix, mask))
    restored = picture.with_rgb(photo)
    if picture.alpha is not None and photo_settings.upscale != 1:
        restored = replace(restored, alpha=resize_by(picture.alpha, photo_settings.upscale))
    return RestoredPhoto(restored, list(faces), area)


def enlarge(rgb: np.ndarray, photo_settings: PhotoSettings) -> np.ndarray:
    """Return a copy of the photo at the wanted size."""
    if photo_settings.background is not None:
        return photo_settings.background(rgb, photo_settings.upscale)
    return rgb.copy() if photo_settings.upscale == 1 else resize_by(rgb, photo_settings.upscale)


def resize_by(img: np.ndarray, factor: float) -> np.ndarray:
    """Resize an image or a plane to `factor` times its sides."""
    size = max(1, round(img.shape[1] * factor)), max(1, round(img.shape[0] * factor))
    return cv2.resize(img, size, interpolation=cv2.INTER_LANCZOS4 if factor > 1 else cv2.INTER_AREA)
