"""A picture of the synthetic people: one person a row, with the selection between the first two photos.

    python benchmarks/synthetic_sheet.py sheet.png [--size 128] [--people 8] [--photos 5] [--first 0] [--degradation X]

Columns: the photos; then the first one degraded, its selection (what the second photo may lend it, the rest dimmed),
the second photo's selection in its own coordinates, and the second photo carried into the first by the true flow.
"""

import argparse

import cv2
import numpy as np

import refstar  # noqa: F401
from refstar.data.degradation import Degradation
from refstar.data.synthetic.identity import person
from refstar.data.synthetic.render_photo import correspond, draw_shot, take_photo


def dimmed(image: np.ndarray, selected: np.ndarray) -> np.ndarray:
    return image * np.where(selected, 1.0, 0.25)[..., None]


def row(index: int, size: int, photos: int, degradation: Degradation) -> np.ndarray:
    shots = [draw_shot(np.random.default_rng([0, 2, index, number])) for number in range(photos)]
    taken = [take_photo(person(0, index, size), shot, size) for shot in shots]
    gt, ref = taken[:2]
    flow, _, selected = correspond(gt, ref)
    column, line = ((axis + 1) * size / 2 - 0.5 for axis in flow)
    carried = cv2.remap(ref.image, column, line, cv2.INTER_LINEAR) * selected[..., None]
    lq = degradation(gt.image, np.random.default_rng(index)) / np.float32(255)
    more = [lq, dimmed(gt.image, selected), dimmed(ref.image, correspond(ref, gt)[2]), carried]
    return np.concatenate([photo.image for photo in taken] + more, axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', help='PNG file to write')
    parser.add_argument('--size', type=int, default=128)
    parser.add_argument('--people', type=int, default=8)
    parser.add_argument('--photos', type=int, default=5)
    parser.add_argument('--first', type=int, default=0, help='number of the first person')
    parser.add_argument('--degradation', default='ffhq_ref_severe')
    args = parser.parse_args()
    if args.photos < 2:
        parser.error('--photos must be at least 2')
    degradation = Degradation.from_option(args.degradation, args.size)
    people = range(args.first, args.first + args.people)
    sheet = np.concatenate([row(index, args.size, args.photos, degradation) for index in people])
    if not cv2.imwrite(args.out, np.rint(sheet[..., ::-1] * 255).clip(0, 255).astype(np.uint8)):
        parser.error(f'{args.out} cannot be written')


if __name__ == '__main__':
    main()
