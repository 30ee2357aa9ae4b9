"""Images in files, in memory and as tensors: read and written for every command, data set and metric.

Arrays are RGB uint8 (H, W, 3); tensors are RGB float32 (3, H, W) in [-1, 1]. H, W image size.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .atomic_files import write_atomically
from .errors import RefStarError

# Formats to read. Pillow knows more, some of which run programs (EPS: Ghostscript). JPEG includes MPO, of cameras that
# take several pictures at a time. HEIC needs pillow-heif.
READABLE = ('PNG', 'JPEG', 'WEBP', 'AVIF', 'BMP', 'TIFF', 'GIF')
FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.webp': 'WEBP', '.avif': 'AVIF', '.bmp': 'BMP', '.tif': 'TIFF'}  # to write
FORMATS |= {'.jpeg': 'JPEG', '.jpe': 'JPEG', '.jfif': 'JPEG', '.tiff': 'TIFF'}
HEIC_SUFFIXES = ('.heic', '.heif', '.hif')
READ_SUFFIXES = frozenset({*FORMATS, *HEIC_SUFFIXES, '.gif', '.apng', '.dib', '.mpo'})  # of photos in a folder
HEIC_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')  # bytes 8 to 12 of a file
ANIMATED = ('GIF', 'WEBP', 'PNG', 'AVIF')  # formats that may hold an animation
TRANSPARENT = ('PNG', 'WEBP', 'TIFF', 'AVIF')
# Beginnings of files that people take for photos, and what to do with them.
NO_PICTURES = {b'PK': 'is an archive; unpack it first', b'Rar!': 'is an archive; unpack it first'}
NO_PICTURES |= {b'7z': 'is an archive; unpack it first', b'%PDF': 'is a PDF; save its pictures as files of their own'}
MAX_PIXELS = 100_000_000  # of a picture, before and after enlarging
LEVELS = np.arange(256, dtype=np.float32) / np.float32(255) * 2 - 1  # 8-bit values in [-1, 1]
BLACK = torch.tensor(-1.0)


# ----------------------------------------------------------------- reading
@contextmanager
def open_image(source: str | Path | bytes, name: object = None, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open an image of which only the header is read yet; close it at the end.

    Args:
        source: a file, or its content.
        name: what to call it in messages. Default: its path.
        max_pixels: it may have. Default: what Pillow allows.

    Raises:
        RefStarError: it is no complete image of a `READABLE` format, or too large; also for any error in the `with`.
    """
    name = source if name is None else name
    if max_pixels and Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow refuses twice its own limit, in the whole process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            formats = _formats(source, name)
            # Not by its path: Pillow (12.3) maps grey TIFFs into memory, and scrambles those that are stored turned.
            with (
                BytesIO(source) if isinstance(source, bytes) else open(source, 'rb') as stream,
                Image.open(stream, formats=formats) as file,
            ):
                if max_pixels:
                    refuse_large(*file.size, max_pixels, str(name))
                yield file
    except FileNotFoundError:
        raise RefStarError(f'{name}: there is no such file') from None
    except RefStarError:
        raise
    except Image.DecompressionBombError:
        limit = max_pixels or 2 * Image.MAX_IMAGE_PIXELS
        raise RefStarError(f'{name}: is too large (limit: {limit} pixels); shrink it first') from None
    except Exception as error:  # a broken image can end in almost any exception
        if isinstance(error, UnidentifiedImageError):
            what = next((what for start, what in NO_PICTURES.items() if _head(source).startswith(start)), '')
            reason = what or f'is not a readable image ({", ".join(READABLE)}, HEIC); replace or remove it'
        else:
            reason = f'is not a readable image ({error}); replace or remove it'
        raise RefStarError(f'{name}: {reason}') from None


def _head(source: str | Path | bytes) -> bytes:
    """Return the first bytes of a file or of its content."""
    if isinstance(source, bytes):
        return source[:12]
    with open(source, 'rb') as file:
        return file.read(12)


def _formats(source: str | Path | bytes, name: object) -> tuple[str, ...]:
    """Return the formats to try; HEIC only where the file looks like it, as that takes pillow-heif."""
    head = _head(source)
    if head[4:8] != b'ftyp' or head[8:12] not in HEIC_BRANDS:
        return READABLE
    try:
        import pillow_heif
    except ImportError:
        raise RefStarError(f"{name}: HEIC needs pillow-heif: pip install 'refstar[heic]'") from None
    pillow_heif.register_heif_opener()
    return (*READABLE, 'HEIF')


def count_pictures(file: Image.Image) -> int:
    """Return how many pictures a file holds that belong into a result: frames of an animation, pages of a TIFF."""
    count = getattr(file, 'n_frames', 1) if file.format in ('TIFF', *ANIMATED) else 1
    if file.format == 'TIFF' and count > 1:  # smaller copies of the first do not count
        tags = []
        for number in range(count):
            file.seek(number)
            tags.append(file.tag_v2.get(254, 0))
        file.seek(0)
        count = sum(not tag & 1 for tag in tags)
    return count


def decode_image(source: str | Path | bytes, mode: str, name: object = None) -> np.ndarray:
    """Read an 8-bit image whole, as its pixels are stored: `RGB` (H, W, 3) or grey `L` (H, W), uint8.

    Pillow is used because OpenCV fills the rest of a truncated JPEG with grey and says nothing.

    Raises:
        RefStarError: it cannot be read or is no complete 8-bit image.
    """
    with open_image(source, name) as file:
        if file.mode.startswith(('I', 'F')):
            raise RefStarError(f'{name or source}: has {file.mode} pixels; save it with 8 bits a channel')
        return np.array(file if file.mode == mode else file.convert(mode))


@dataclass(frozen=True)
class Picture:
    """An upright picture.

    Args:
        rgb: uint8 (H, W, 3).
        alpha: uint8 (H, W), None where nothing is transparent.
        grey: whether it shows no colour, so that results show none either.
        profile: ICC colour profile of its file, kept for writing.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    profile: bytes | None = None

    def with_rgb(self, rgb: np.ndarray) -> 'Picture':
        """Return the same with other pixels, without colour where it had none."""
        if self.grey:
            rgb = np.repeat(np.array(Image.fromarray(rgb).convert('L'))[..., None], 3, 2)
        return replace(self, rgb=rgb)


def read_picture(
    source: str | Path | bytes, max_pixels: int = MAX_PIXELS, name: object = None, first: bool = False
) -> Picture:
    """Read a picture of any common form: rotated by EXIF, grey, transparent, CMYK, 16-bit grey.

    Args:
        source, name: as of :func:`open_image`.
        max_pixels: it may have; looked at before any pixel is decoded.
        first: take the first of several pictures (animation, pages); else such a file is refused.

    Raises:
        RefStarError: it is no complete image, holds several, or has more than `max_pixels`.
    """
    with open_image(source, name, max_pixels) as file:
        if not first and (count := count_pictures(file)) > 1:
            raise RefStarError(f'{name or source}: holds {count} pictures; save each as a file of its own')
        profile = file.info.get('icc_profile') if file.mode in ('RGB', 'RGBA', 'P') else None
        return replace(from_pillow(file, str(source if name is None else name)), profile=profile)


def refuse_large(width: int, height: int, max_pixels: int, what: str) -> None:
    """Raise RefStarError where a picture has too many pixels."""
    if width * height > max_pixels:
        raise RefStarError(f'{what}: {width}x{height} is too large (limit: {max_pixels} pixels); shrink it first')


def from_pillow(file: Image.Image, what: str = 'the picture') -> Picture:
    """Convert a Pillow image of any mode; 16-bit grey becomes 8-bit.

    Raises:
        RefStarError: it has 32-bit pixels.
    """
    file = ImageOps.exif_transpose(file)
    if file.mode.startswith(('I', 'F')):
        values = np.asarray(file)
        if file.mode == 'F' or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise RefStarError(f'{what}: has 32-bit pixels; save it with 8 or 16 bits a channel')
        file = Image.fromarray(((values.astype(np.int64) + 128) // 257).astype(np.uint8))
    alpha = None
    if file.has_transparency_data:
        rgba = np.array(file.convert('RGBA'))
        rgb, alpha = rgba[..., :3].copy(), rgba[..., 3].copy()
    else:
        rgb = np.array(file.convert('RGB'))
    return Picture(rgb, alpha, bool((rgb[..., :1] == rgb[..., 1:]).all()))


def picture_of(source: object, max_pixels: int = MAX_PIXELS) -> Picture:
    """Return a file, a Pillow image, or an array (uint8 (H, W), (H, W, 3) RGB, (H, W, 4) RGBA) as a picture.

    Of a file that holds several pictures the first is taken.

    Raises:
        RefStarError: the file cannot be read, the array has another form, or there are more than `max_pixels`.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (str, Path)):
        return read_picture(source, max_pixels, first=True)
    if isinstance(source, Image.Image):
        refuse_large(*source.size, max_pixels, 'the picture')
        return from_pillow(source)
    if not isinstance(source, np.ndarray) or source.dtype != np.uint8 or source.ndim not in (2, 3) or not source.size:
        what = f'{source.dtype} {source.shape}' if isinstance(source, np.ndarray) else type(source).__name__
        raise RefStarError(f'a picture must be a path, a Pillow image or an array uint8 (H, W, 3) RGB, got {what}')
    if source.ndim == 3 and source.shape[2] not in (3, 4):
        raise RefStarError(f'a picture must be (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, got {source.shape}')
    return from_pillow(Image.fromarray(source))


# ----------------------------------------------------------------- writing
def write_picture(path: Path, picture: Picture, quality: int = 95) -> None:
    """Write a picture atomically, by the suffix of its name; make its folder. JPEG has no transparency.

    Raises:
        RefStarError: the suffix is no format that can be written, or the file cannot be.
    """
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise RefStarError(f'{path}: cannot write {path.suffix or "a file without suffix"}; use {", ".join(FORMATS)}')
    try:
        data = encode_picture(picture, form, quality)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except (OSError, ValueError) as error:
        raise RefStarError(f'cannot write {path}: {error}') from None


def encode_picture(picture: Picture, form: str, quality: int = 95) -> bytes:
    """Encode a picture in one of the `FORMATS`; JPEG has no transparency."""
    file = Image.fromarray(picture.rgb)
    if picture.grey:
        file = file.convert('L')
    if picture.alpha is not None and form in TRANSPARENT:
        file.putalpha(Image.fromarray(picture.alpha))
    profile = {'icc_profile': picture.profile} if picture.profile and not picture.grey and form != 'BMP' else {}
    buffer = BytesIO()
    options = {'quality': quality} if form in ('JPEG', 'WEBP', 'AVIF') else {}
    options |= {'subsampling': 0} if form == 'JPEG' else {}
    file.save(buffer, form, **options, **profile)
    return buffer.getvalue()


# ----------------------------------------------------------------- tensors
def to_tensor(img: np.ndarray) -> Tensor:
    """Convert (H, W, 3), uint8, or float32 in [0, 1], to (3, H, W) float32 in [-1, 1]; both give the same bits."""
    out = torch.empty(3, *img.shape[:2])
    if img.dtype == np.uint8:
        for channel, plane in zip(cv2.split(img), out.numpy(), strict=True):
            cv2.LUT(channel, LEVELS, plane)
        return out
    return torch.add(BLACK, torch.from_numpy(img).permute(2, 0, 1), alpha=2, out=out)


def to_image(x: Tensor) -> np.ndarray:
    """Convert (3, H, W) in [-1, 1] to uint8 (H, W, 3)."""
    x = ((x.detach().float().clamp(-1, 1) + 1) * 127.5).round()
    return x.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def from_basicsr(img: np.ndarray, crop_border: int = 0, input_order: str = 'HWC') -> Tensor:
    """Convert an image as BasicSR hands it to metrics to a batch of one, (1, 3, H, W).

    Args:
        img: (H, W, 3), or (3, H, W) with input_order 'CHW'; BGR in [0, 255].
        crop_border: pixels to leave out along every edge.

    Raises:
        RefStarError: another shape.
    """
    if input_order == 'CHW':
        img = img.transpose(1, 2, 0)
    if img.ndim != 3 or img.shape[2] != 3:
        raise RefStarError(f'metric: expected a colour image (H, W, 3), got shape {img.shape}')
    h, w = img.shape[:2]
    img = img[crop_border : h - crop_border, crop_border : w - crop_border, ::-1]
    img = img if img.dtype == np.uint8 else np.divide(img, 255, dtype=np.float32)
    return to_tensor(np.ascontiguousarray(img))[None]


def require_same_shape(img: np.ndarray, img2: np.ndarray) -> None:
    """Raise RefStarError if two images differ in shape."""
    if img.shape != img2.shape:
        raise RefStarError(f'metric: images differ in shape: {img.shape} and {img2.shape}')
