"""Reading faces from files: square, of one size, RGB; with a memory of decoded images if wanted."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from refstar.utils.errors import RefStarError

from .collections.lmdb_images import database_of, read_bytes

LEVELS = np.arange(256, dtype=np.float32) / np.float32(255) * 2 - 1  # 8-bit values in [-1, 1]
BLACK = torch.tensor(-1.0)
# What is read, by command line, data sets and app alike. Pillow knows more, some of which run programs (EPS:
# Ghostscript). JPEG includes MPO, of cameras that take several pictures at a time.
READABLE = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', 'GIF')


class ImageStore:
    """Reads images of one size.

    Args:
        size: side of the images in pixels.
        resize: bring other sizes to `size` (averaging when shrinking, cubic when enlarging); else they are an error.
        preload: files to decode now and keep in memory as uint8, shared by forked workers.

    Raises:
        RefStarError: a file is not a readable image, not square, or of another size.
    """

    def __init__(self, size: int, resize: bool = False, preload: Iterable[Path] = ()):
        self.size = size
        self.resize = resize
        self._kept: dict[Path, np.ndarray] = {}
        for path in dict.fromkeys(preload):
            self._kept[path] = self.read(path)

    def __call__(self, path: Path) -> np.ndarray:
        """The image, shape (size, size, 3), RGB, float32 in [0, 1]; the caller may write into it."""
        img = self._kept.get(path)
        return np.divide(self.read(path) if img is None else img, 255, dtype=np.float32)

    def read(self, path: Path) -> np.ndarray:
        """The image as uint8, shape (size, size, 3), RGB."""
        return self._fit(decode(path, 'RGB'), path)

    def read_mask(self, path: Path) -> np.ndarray:
        """An 8-bit mask, shape (size, size), float32: 1 from the value 128 up, else 0."""
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


def decode(path: Path, mode: str) -> np.ndarray:
    """Reads an 8-bit image, a file or in an lmdb, whole: as `RGB` (H, W, 3) or grey `L` (H, W), uint8.

    Pillow is used because OpenCV fills the rest of a truncated JPEG with grey and says nothing.

    Raises:
        RefStarError: the file cannot be read or is no complete 8-bit image.
    """
    with opened(path) as file:
        if file.mode.startswith(('I', 'F')):
            raise RefStarError(f'{path}: has {file.mode} pixels; save it with 8 bits a channel')
        return np.array(file if file.mode == mode else file.convert(mode))


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image file, on disk or in an lmdb, of which only the header is read yet; closed at the end.

    Raises:
        RefStarError: it is no complete image of a `READABLE` format; also for whatever goes wrong inside the `with`.
    """
    try:
        with Image.open(BytesIO(read_bytes(path)) if database_of(path) else path, formats=READABLE) as file:
            yield file
    except FileNotFoundError:
        raise RefStarError(f'{path}: there is no such file') from None
    except RefStarError:
        raise
    except UnidentifiedImageError:
        raise RefStarError(f'{path}: is not a readable image ({", ".join(READABLE)}); replace or remove it') from None
    except Exception as error:  # a broken image can end in almost any exception
        raise RefStarError(f'{path}: is not a readable image ({error}); replace or remove it') from None


def to_tensor(img: np.ndarray) -> torch.Tensor:
    """(H, W, 3), uint8, or float32 in [0, 1] -> (3, H, W) float32 in [-1, 1], RGB both; alike to the last bit."""
    out = torch.empty(3, *img.shape[:2])
    if img.dtype == np.uint8:
        for channel, plane in zip(cv2.split(img), out.numpy(), strict=True):
            cv2.LUT(channel, LEVELS, plane)
        return out
    return torch.add(BLACK, torch.from_numpy(img).permute(2, 0, 1), alpha=2, out=out)
