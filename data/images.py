"""Read square images of one size, from files or from an lmdb; keep them in memory if wanted."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import decode_image

from .collections.lmdb_images import database_of, read_bytes


def decode(path: Path, mode: str) -> np.ndarray:
    """Read an 8-bit image from a file or an lmdb as `RGB` (H, W, 3) or grey `L` (H, W), uint8.

    Raises:
        RefStarError: it cannot be read or is no complete 8-bit image.
    """
    return decode_image(read_bytes(path) if database_of(path) else path, mode, path)


class ImageStore:
    """Reader of images of one size.

    Args:
        size: side of the images in pixels.
        resize: resize others to `size` (averaging when shrinking, cubic when enlarging); else they are an error.
        preload: files to decode now and keep in memory as uint8, shared by forked workers.

    Raises:
        RefStarError: a file is not a readable image, not square, or of another size.
    """

    def __init__(self, size: int, resize: bool = False, preload: Iterable[Path] = ()):
        self.size = size
        self.resize = resize
        self._kept = {path: self.read(path) for path in dict.fromkeys(preload)}

    def __call__(self, path: Path) -> np.ndarray:
        """Return the image, (size, size, 3), RGB, float32 in [0, 1]; the caller may write into it."""
        img = self._kept.get(path)
        return np.divide(self.read(path) if img is None else img, 255, dtype=np.float32)

    def read(self, path: Path) -> np.ndarray:
        """Return the image as uint8, (size, size, 3), RGB."""
        return self._fit(decode(path, 'RGB'), path)

    def read_mask(self, path: Path) -> np.ndarray:
        """Return an 8-bit mask, (size, size), float32: 1 from the value 128 up, else 0."""
        return (self._fit(decode(path, 'L'), path) >= 128).astype(np.float32)

    def _fit(self, img: np.ndarray, path: Path) -> np.ndarray:
        height, width = img.shape[:2]
        if height != width:
            raise RefStarError(f'{path}: {width}x{height} is not square; align the face first')
        if height == self.size:
            return img
        if not self.resize:
            raise RefStarError(f'{path}: is {width}x{height}, expected {self.size}x{self.size}; set resize: true')
        shrink = height > self.size
        return cv2.resize(img, (self.size, self.size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
