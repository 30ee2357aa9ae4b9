"""Pictures of all sorts for `refstar restore`, made by chance: format x mode x size x turn x name x damage."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

EXAMPLE = Path(__file__).resolve().parents[2] / 'docs' / 'example'
FORMATS = {
    '.png': 'PNG',
    '.jpg': 'JPEG',
    '.JPEG': 'JPEG',
    '.jfif': 'JPEG',
    '.webp': 'WEBP',
    '.bmp': 'BMP',
    '.tif': 'TIFF',
}
FORMATS |= {'.gif': 'GIF', '.Png': 'PNG'} | ({'.avif': 'AVIF'} if features.check('avif') else {})
MODES = ('RGB', 'RGB', 'L', '1', 'P', 'LA', 'RGBA', 'CMYK', 'I;16')
SIZES = ((1, 1), (40, 1), (5, 7), (33, 64), (120, 90), (200, 200), (301, 402), (512, 512))
NAMES = ('photo', 'a b', 'Oma & Opa (1)', 'é ü', '家族', 'a.b', "it's", '#1%20', '-dash', '~x', 'x' * 150, '😀')
NAMES += ('grand-m\udce8re',)  # bytes that are not UTF-8
DAMAGES = ('cut', 'empty', 'text', 'page', 'zip')  # what a file may hold in place of its picture


@dataclass
class Sample:
    """A file, and the size its result must have; None: it cannot be restored."""

    path: Path
    size: tuple[int, int] | None


def samples(folder: Path, numbers: range) -> Iterator[Sample]:
    """Write these samples into folders below; the same number gives the same file."""
    face = Image.open(EXAMPLE / 'photo.jpg')
    for number in numbers:
        rng = np.random.default_rng((7, number))
        suffix = list(FORMATS)[rng.integers(len(FORMATS))]
        size, mode = SIZES[rng.integers(len(SIZES))], MODES[rng.integers(len(MODES))]
        name = NAMES[rng.integers(len(NAMES))]
        path = folder / ('album', 'al bum/ü', 'files')[rng.integers(3)] / f'{name}{number}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[274] = int(rng.integers(1, 9))
        data = encoded(face.resize(size), mode, FORMATS[suffix], exif)
        damage = DAMAGES[rng.integers(len(DAMAGES))] if rng.random() < 0.2 else ''
        path.write_bytes(damaged(data, damage))
        yield Sample(path, None if damage else upright_size(data))


def encoded(img: Image.Image, mode: str, form: str, exif: Image.Exif) -> bytes:
    """Return a picture as a file of this format, in the mode if the format has it, else RGB."""
    if mode == 'I;16':
        wanted = Image.fromarray(np.asarray(img.convert('L')).astype(np.uint16) * 257)
    else:
        wanted = img.convert(mode)
    buffer = io.BytesIO()
    try:
        wanted.save(buffer, form, exif=exif)
    except (OSError, ValueError, KeyError):
        img.save(buffer := io.BytesIO(), form, exif=exif)
    return buffer.getvalue()


def damaged(data: bytes, damage: str) -> bytes:
    """Return what a file holds after the damage."""
    if damage == 'zip':
        with zipfile.ZipFile(buffer := io.BytesIO(), 'w') as archive:
            archive.writestr('photo.png', data)
        return buffer.getvalue()
    other = {'cut': data[: len(data) // 2], 'empty': b'', 'text': b'hello', 'page': b'<!DOCTYPE html><html></html>'}
    return other.get(damage, data)


def upright_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a picture as a viewer shows it."""
    with Image.open(io.BytesIO(data)) as img:
        return ImageOps.exif_transpose(img).size
