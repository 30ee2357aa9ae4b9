"""Measure how good masks of `refstar masks build` are on procedural people, whose truth is exact, and what they cost.

    python benchmarks/masks.py [--pairs 400] [--seed 100] [--out FOLDER] [--iterations N] [--sheet SHEET.png]

Builds with one process at a time. IoU is the mean over pairs. A folder that is kept (--out) is only measured the second
time.
"""

import argparse
import csv
import os
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

import refstar  # noqa: F401
from refstar.curate.pair_sources import SyntheticPairs
from refstar.data.collections.manifest import evenly
from refstar.data.images import ImageStore
from refstar.data.synthetic.render_photo import correspond
from refstar.tools.masks_build import main as build
from refstar.utils.image_files import decode_image

WANTED = {'proposed': 0.70, 'accepted': 0.85}
PAIRS, CORES, MINUTES = 10_000, 2, 30


def iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def measure(root: Path, pairs: SyntheticPairs) -> None:
    """Prints the IoU of the masks of a collection."""
    with open(root / 'meta.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    found = {'proposed': [], 'final': []}
    for index, row in enumerate(rows):
        gt, ref = pairs.photos(index)
        truth = correspond(ref, gt)[2]
        for name, folder in (('proposed', root / 'build' / 'teach' / 'mask'), ('final', root / 'mask')):
            found[name].append(iou(decode_image(folder / f'{row["id"]}.png', 'L') >= 128, truth))
    proposed, final = (np.array(values) for values in found.values())
    good = np.array([row['provenance'] == 'accepted' for row in rows])
    print(f'\n{"masks":<32}{"pairs":>7}{"IoU":>8}{"worst 5 %":>11}{"wanted":>8}')
    for name, values, wanted in (
        ('proposed', proposed, 'proposed'),
        ('after propagation', final, ''),
        ('accepted', final[good], 'accepted'),
        ('  the same, as proposed', proposed[good], ''),
        ('not accepted', final[~good], ''),
    ):
        if len(values):
            worst = np.quantile(values, 0.05)
            print(f'{name:<32}{len(values):>7}{values.mean():>8.3f}{worst:>11.3f}{WANTED.get(wanted, ""):>8}')


def draw(root: Path, sheet: Path) -> None:
    """Draws 24 accepted triplets: photo, reference, and the reference with what is not selected dimmed."""
    with open(root / 'meta.csv', newline='') as file:
        names = [row['id'] for row in csv.DictReader(file) if row['provenance'] == 'accepted']
    store, cells = ImageStore(76, resize=True), []
    for name in evenly(names, 24):
        gt, ref = (store.read(root / folder / f'{name}.png') for folder in ('gt', 'ref'))
        mask = store.read_mask(root / 'mask' / f'{name}.png')
        shown = np.rint(ref * np.where(mask > 0, 1.0, 0.25)[..., None]).astype(np.uint8)
        cells.append(np.pad(np.hstack([gt, ref, shown]), ((0, 4), (0, 4), (0, 0)), constant_values=255))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % 4)
    lines = [np.hstack(cells[i : i + 4]) for i in range(0, len(cells), 4)]
    cv2.imwrite(str(sheet), cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', type=int, default=400)
    parser.add_argument('--size', type=int, default=256)
    parser.add_argument('--seed', type=int, default=100, help='of the people; parameters were chosen on those of 77')
    parser.add_argument('--out', type=Path, help='keep the collection here')
    parser.add_argument('--iterations', type=int)
    parser.add_argument('--sheet', type=Path, help='also draw 24 accepted triplets')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = args.out or Path(scratch)
        given = {'synthetic': args.pairs, 'size': args.size, 'seed': args.seed, 'iterations': args.iterations}
        given |= {'out': root, 'jobs': 1}
        finished, start = (root / 'build').exists(), os.times()
        code = build([f'--{key}={value}' for key, value in given.items() if value is not None])
        if code:
            return code
        end, work = os.times(), root / 'build'
        used = sum(getattr(end, kind) - getattr(start, kind) for kind in ('children_user', 'children_system'))
        training = (work / 'train/network.pth').stat().st_mtime - (work / 'teach/meta.csv').stat().st_mtime
        measure(root, SyntheticPairs(args.pairs, args.size, args.seed))
        if args.sheet:
            draw(root, args.sheet)
    if not finished:
        pair = (used - training) / args.pairs
        total = (pair * PAIRS + training) / CORES / 60
        print(f'\nprocessor time: {pair:.3f} s a pair, {training:.0f} s training (by the clock);')
        print(f'{PAIRS} pairs on {CORES} cores: {total:.1f} minutes if both are kept busy; wanted {MINUTES}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
