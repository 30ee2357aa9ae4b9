"""Computes the landmarks of a folder of aligned faces, for the option `landmarks` of the datasets.

    python benchmarks/landmarks.py FACES OUT.npz [--draw SHEET.png]

By the landmark network that ships. Faces are aligned to the FFHQ template, so no detector is needed. Photos on which
the network, fed several squares, disagrees with itself are left out.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from refstar.metrics.landmark_metric import SPREAD, landmark_network

SUFFIXES = {'.png', '.jpg', '.jpeg', '.webp', '.bmp'}


def draw(img: np.ndarray, points: np.ndarray, side: int = 256) -> np.ndarray:
    """The photo with its points, for looking at."""
    canvas = cv2.resize(img, (side, side), interpolation=cv2.INTER_CUBIC)
    for x, y in np.rint(points * side - 0.5).astype(int):
        cv2.circle(canvas, (int(x), int(y)), 1, (0, 255, 0), -1)
    return canvas


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('faces', type=Path, help='folder of aligned, square faces, searched to any depth')
    parser.add_argument('out', type=Path, help='file to write: .npz with names and points')
    parser.add_argument('--disagreement', type=float, default=SPREAD, help='largest spread, of the eye distance')
    parser.add_argument('--draw', type=Path, help='also write a sheet of 40 photos with their points')
    args = parser.parse_args()
    if not args.faces.is_dir():
        sys.exit(f'{args.faces}: not found')
    network = landmark_network()

    files = sorted(p for p in args.faces.rglob('*') if p.suffix.lower() in SUFFIXES)
    names, points, left_out = [], [], []
    for i, file in enumerate(files, 1):
        img = cv2.imread(str(file))
        found, error = (None, np.inf) if img is None or img.shape[0] != img.shape[1] else network.measure(img)
        name = file.relative_to(args.faces).as_posix()
        if error <= args.disagreement:
            names.append(name)
            points.append(found)
        else:
            left_out.append(name)
        if sys.stderr.isatty() and i % 50 == 0:
            print(f'\r{i} of {len(files)}', end='', file=sys.stderr)
    if not names:
        sys.exit(f'{args.faces}: no face with consistent landmarks among {len(files)} photos')
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, names=np.array(names), points=np.array(points, np.float32))
    print(f'{args.out}: {len(names)} photos, {len(left_out)} left out: {", ".join(left_out[:10])}')
    if args.draw:
        chosen = np.linspace(0, len(names) - 1, min(40, len(names))).astype(int)
        sheet = [draw(cv2.imread(str(args.faces / names[i])), points[i]) for i in chosen]
        sheet += [np.zeros_like(sheet[0])] * (-len(sheet) % 8)
        cv2.imwrite(str(args.draw), np.vstack([np.hstack(sheet[i : i + 8]) for i in range(0, len(sheet), 8)]))


if __name__ == '__main__':
    main()
