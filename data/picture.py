"""Pictures as people have them: turned by EXIF, grey, transparent, CMYK, 16-bit; read right, and written back alike."""

import warnings
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError

from .images import READABLE, opened

MAX_PIXELS = 100_000_000  # of a picture, before and after enlarging
FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP', '.bmp': 'BMP', '.tif': 'TIFF'}
FORMATS['.tiff'] = 'TIFF'
TRANSPARENT = ('PNG', 'WEBP', 'TIFF')


@dataclass(frozen=True)
class Picture:
    """A picture, upright.

    Args:
        rgb: uint8 (H, W, 3).
        alpha: uint8 (H, W), None where nothing is transparent.
        grey: it shows no colour, so what is made of it should show none.
        profile: ICC colour profile of its file, kept for writing.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    profile: bytes | None = None

    def with_rgb(self, rgb: np.ndarray) -> 'Picture':
        """The same with other pixels; without colour where it had none."""
        if self.grey:
            rgb = np.repeat(np.array(Image.fromarray(rgb).convert('L'))[..., None], 3, 2)
        return replace(self, rgb=rgb)


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads a picture of any common form. Its size is looked at before any pixel is decoded.

    16-bit grey becomes 8-bit; of an animation the first frame is taken.

    Raises:
        RefStarError: it is no complete image, or has more than `max_pixels`.
    """
    path = Path(path)
    _let_pillow_open(max_pixels)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Pillow's, of large pictures: the limit here is what counts
        try:
            with opened(path) as file:
                return _read(file, str(path), max_pixels)
        except RefStarError as error:
            if 'decompression bomb' in str(error):
                raise RefStarError(f'{path}: is too large (limit: {max_pixels} pixels); shrink it first') from None
            raise


def _read(file: Image.Image, what: str, max_pixels: int) -> Picture:
    refuse_large(*file.size, max_pixels, what)
    profile = file.info.get('icc_profile') if file.mode in ('RGB', 'RGBA', 'P') else None
    return replace(from_pillow(file, what), profile=profile)


def picture_from(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """A picture from the content of a file that a stranger sent; otherwise as :func:`read_picture`.

    Args:
        data: the content.
        name: what to call it in an error; nothing of that name is opened.
        max_pixels: it may have.

    Raises:
        RefStarError: as of :func:`read_picture`, or the format is none of `READABLE`.
    """
    if not data:
        raise RefStarError(f'{name}: is empty (zero bytes)')
    _let_pillow_open(max_pixels)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            with Image.open(BytesIO(data), formats=READABLE) as file:
                return _read(file, name, max_pixels)
        except RefStarError:
            raise
        except UnidentifiedImageError:
            raise RefStarError(f'{name}: is no picture ({", ".join(READABLE)})') from None
        except Image.DecompressionBombError:
            raise RefStarError(f'{name}: is too large (limit: {max_pixels} pixels); shrink it first') from None
        except Exception as error:  # a broken image can end in almost any exception
            raise RefStarError(f'{name}: is a broken picture ({error})') from None


def _let_pillow_open(max_pixels: int) -> None:
    """Pillow refuses twice its own limit, 179 million pixels, in the whole process; raised where ours is higher."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


def refuse_large(width: int, height: int, max_pixels: int, what: str) -> None:
    """Raises RefStarError where a picture has too many pixels."""
    if width * height > max_pixels:
        raise RefStarError(f'{what}: {width}x{height} is too large (limit: {max_pixels} pixels); shrink it first')


def from_pillow(file: Image.Image, what: str = 'the picture') -> Picture:
    """A Pillow image of any mode as a picture.

    Raises:
        RefStarError: its pixels are no colours (32-bit numbers).
    """
    file = ImageOps.exif_transpose(file)
    if file.mode.startswith('I'):
        values = np.asarray(file).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise RefStarError(f'{what}: has 32-bit pixels; save it with 8 or 16 bits a channel')
        file = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if file.mode == 'F':
        raise RefStarError(f'{what}: has 32-bit pixels; save it with 8 or 16 bits a channel')
    alpha = None
    if file.has_transparency_data:
        rgba = np.array(file.convert('RGBA'))
        rgb, alpha = rgba[..., :3].copy(), rgba[..., 3].copy()
    else:
        rgb = np.array(file.convert('RGB'))
    return Picture(rgb, alpha, bool((rgb[..., :1] == rgb[..., 1:]).all()))


def picture_of(source: object, max_pixels: int = MAX_PIXELS) -> Picture:
    """A picture from a file, a Pillow image, or an array: uint8 (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.

    Raises:
        RefStarError: the file cannot be read, the array has another form, or there are more than `max_pixels`.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (str, Path)):
        return read_picture(source, max_pixels)
    if isinstance(source, Image.Image):
        refuse_large(*source.size, max_pixels, 'the picture')
        return from_pillow(source)
    if not isinstance(source, np.ndarray) or source.dtype != np.uint8 or source.ndim not in (2, 3) or not source.size:
        what = f'{source.dtype} {source.shape}' if isinstance(source, np.ndarray) else type(source).__name__
        raise RefStarError(f'a picture must be a path, a Pillow image or an array uint8 (H, W, 3) RGB, got {what}')
    if source.ndim == 3 and source.shape[2] not in (3, 4):
        raise RefStarError(f'a picture must be (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, got {source.shape}')
    return from_pillow(Image.fromarray(source))


def write_picture(path: Path, picture: Picture, quality: int = 95) -> None:
    """Writes a picture whole or not at all, by the suffix of its name; a JPEG loses what was transparent.

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
    """Content of a file of one of the `FORMATS`; a JPEG loses what was transparent."""
    file = Image.fromarray(picture.rgb)
    if picture.grey:
        file = file.convert('L')
    if picture.alpha is not None and form in TRANSPARENT:
        file.putalpha(Image.fromarray(picture.alpha))
    profile = {'icc_profile': picture.profile} if picture.profile and not picture.grey and form != 'BMP' else {}
    buffer = BytesIO()
    options = {'JPEG': {'quality': quality, 'subsampling': 0}, 'WEBP': {'quality': quality}}.get(form, {})
    file.save(buffer, form, **options, **profile)
    return buffer.getvalue()
