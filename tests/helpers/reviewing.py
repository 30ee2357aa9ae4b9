"""Helpers of the tests of `refstar masks review`: a small synthetic collection, and what stands in it."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from refstar.data.synthetic_face_dataset import SyntheticFaceDataset

PAIRS = 6


def write_collection(root: Path, size: int, pairs: int = PAIRS) -> Path:
    """Synthetic people in the form of RefSel-HQ, with ids `00000 ...` and confidences 0.4, 0.5 ..."""
    people = SyntheticFaceDataset({'gt_size': size, 'identities': pairs})
    for part in ('gt', 'ref', 'mask'):
        (root / part).mkdir(parents=True)
    rows = ['id,identity,provenance,confidence,pair']
    for number in range(pairs):
        sample = people[number]
        for part, image in (('gt', sample['gt']), ('ref', sample['refs'][0])):
            pixels = ((image.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
            Image.fromarray(pixels).save(root / f'{part}/{number:05d}.png')
        (root / f'mask/{number:05d}.png').write_bytes(png(sample['ref_mask'][0, 0].numpy() * 255))
        provenance = 'proposed' if number % 2 else 'propagated'
        rows.append(f'{number:05d},person{number},{provenance},{0.4 + number / 10:.1f},"mined, no. {number}"')
    (root / 'meta.csv').write_text('\n'.join(rows) + '\n')
    return root


def png(pixels: np.ndarray, mode: str = 'L', **options) -> bytes:
    """A PNG file of grey pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, 'PNG', **options)
    return file.getvalue()


def pixels(root: Path, name: str, part: str = 'mask') -> np.ndarray:
    with Image.open(root / part / f'{name}.png') as image:
        return np.array(image)


def column(root: Path, name: str) -> list[str]:
    """A column of meta.csv."""
    with open(root / 'meta.csv', newline='') as file:
        return [row.get(name) for row in csv.DictReader(file)]
