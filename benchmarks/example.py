"""Make docs/example and the first picture of the README from one person of the London set.

    python benchmarks/example.py FACES

FACES is a folder with `london_512/<person>/01.jpg` (neutral) and `02.jpg` (smiling), 512 px, FFHQ-aligned. The neutral
photo is degraded by `ffhq_ref_severe`, the smiling one is the reference. `refstar restore` does the rest.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from refstar.data.degradation import Degradation
from refstar.tools.restore import main as restore

DOCS = Path(__file__).parents[1] / 'docs'
PEOPLE = {'london_007': 3, 'london_003': 1}  # person -> seed of the degradation; the first one is the example
BORDERS = 260, 180  # pixels of the studio's wall to add on the left and on the right
SIDE, CAPTION = 256, 26  # pixels of the picture


def degraded(photo: np.ndarray, seed: int) -> np.ndarray:
    """Degrade a photo, uint8 (512, W, 3), RGB; the same comes back."""
    return Degradation.from_option('ffhq_ref_severe', 512)(photo.astype(np.float32) / 255, np.random.default_rng(seed))


def write_example(faces: Path, person: str, folder: Path) -> None:
    """Write `photo.jpg` (a wide photo, degraded) and `references/1.jpg` of a person."""
    photo, reference = (Image.open(faces / 'london_512' / person / name) for name in ('01.jpg', '02.jpg'))
    (folder / 'references').mkdir(parents=True, exist_ok=True)
    wide = cv2.copyMakeBorder(np.asarray(photo.convert('RGB')), 0, 0, *BORDERS, cv2.BORDER_REPLICATE)  # a plain wall
    Image.fromarray(degraded(wide, PEOPLE[person])).save(folder / 'photo.jpg', quality=95)
    reference.save(folder / 'references' / '1.jpg', quality=90)


def row(faces: Path, person: str, folder: Path) -> np.ndarray:
    """Restore the example in a folder; return photo, reference, result and truth side by side, uint8 RGB."""
    out = folder / 'out'
    command = ['-i', str(folder / 'photo.jpg'), '-r', str(folder / 'references'), '-o', str(out)]
    if restore(command):
        raise SystemExit(f'refstar restore failed for {person}')
    files = (
        folder / 'photo.jpg',
        folder / 'references/1.jpg',
        out / 'photo.jpg',
        faces / f'london_512/{person}/01.jpg',
    )
    pictures = [np.asarray(Image.open(file).convert('RGB')) for file in files]
    left = BORDERS[0]
    pictures = [p[:, left : left + 512] if p.shape[1] > p.shape[0] else p for p in pictures]
    kinds = [cv2.INTER_AREA if p.shape[0] > SIDE else cv2.INTER_CUBIC for p in pictures]
    return np.hstack([cv2.resize(p, (SIDE, SIDE), interpolation=k) for p, k in zip(pictures, kinds, strict=True)])


def main() -> None:
    """Write the example and docs/images/restored.jpg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('faces', type=Path)
    faces = parser.parse_args().faces
    write_example(faces, next(iter(PEOPLE)), DOCS / 'example')
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        for person in PEOPLE:
            write_example(faces, person, Path(tmp) / person)
            rows.append(row(faces, person, Path(tmp) / person))
    picture = np.vstack(rows)
    sheet = Image.new('RGB', (picture.shape[1], picture.shape[0] + CAPTION), 'white')
    sheet.paste(Image.fromarray(picture), (0, CAPTION))
    write, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for i, text in enumerate(('the bad photo', 'a good photo of the person', 'restored with it', 'the truth')):
        write.text(((i + 0.5) * SIDE, CAPTION / 2), text, fill='black', font=font, anchor='mm')
    sheet.save(DOCS / 'images' / 'restored.jpg', quality=92)


if __name__ == '__main__':
    main()
