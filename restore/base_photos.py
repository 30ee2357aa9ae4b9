"""Photos that another program restored already: the second input of a network that takes one (`--base FOLDER`)."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import MAX_PIXELS, Picture, read_picture
from refstar.utils.photo_files import is_photo

from .alignment import for_scaled_photo, warp_to_face
from .faces import AlignedFace
from .photo import resize, scaled
from .references import fit

SAME_SHAPE = 0.02  # largest difference of the ratios of width and height


def read_base(folder: Path, photo: Path, picture: Picture, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read what another program made of a photo: the picture of the same name, of any size, in a folder.

    Raises:
        RefStarError: there is none, there are several, it cannot be read, or it has another shape.
    """
    found = [path for path in sorted(folder.iterdir()) if path.stem == photo.stem and is_photo(path.name)]
    if len(found) != 1:
        names = ', '.join(path.name for path in found) or 'no picture'
        raise RefStarError(f'{photo}: {names} of this name in {folder} (--base); one is needed')
    base = read_picture(found[0], max_pixels)
    (height, width), (tall, wide) = picture.rgb.shape[:2], base.rgb.shape[:2]
    if abs(width / height * tall / wide - 1) > SAME_SHAPE:
        raise RefStarError(f'{found[0]}: {wide}x{tall} pixels, the photo has {width}x{height}: not the same picture')
    return base


def with_base(face: AlignedFace, picture: Picture, base: Picture) -> AlignedFace:
    """Return a face with the same part of its restored photo."""
    size = len(face.crop)
    if face.matrix is None:
        return replace(face, base=fit(base, size, 'the restored photo (--base)'))
    factor = np.array(base.rgb.shape[1::-1]) / np.array(picture.rgb.shape[1::-1])
    return replace(face, base=warp_to_face(base.rgb, for_scaled_photo(face.matrix, factor), size))


def as_background(base: Picture, rgb: np.ndarray, factor: float) -> np.ndarray:
    """Return the restored photo at `factor` times the sides of the photo `rgb`; a `PhotoSettings.background`."""
    return resize(base.rgb, scaled(rgb, factor))
