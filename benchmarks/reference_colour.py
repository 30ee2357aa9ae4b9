"""Does a reference of other light tint the result? Synthetic people, tinted references, colour care on and off.

    python benchmarks/reference_colour.py NETWORK [--options X.yml] [--people 60]

NETWORK is a RefSTAR trained on synthetic people (`make experiment`). Printed are, inside the face, the error of the
colours (the mean of |result - truth| after a blur of a sixteenth of the side, in 8-bit steps) and the PSNR in dB.
"""

import argparse

import cv2
import numpy as np
import torch

import refstar  # noqa: F401  (first: makes basicsr importable)
from refstar.data.face_region import face_oval
from refstar.data.synthetic_face_dataset import SyntheticFaceDataset
from refstar.restore.restorer import Restorer
from refstar.utils.image_files import to_image

TINTS = {'as it is': (1, 1, 1), 'warm': (1.2, 1, 0.75), 'cold': (0.8, 1, 1.2), 'dark': (0.6, 0.6, 0.6)}
FIRST = 1_000_000  # people that no training has seen


def tinted(img: np.ndarray, gains: tuple[float, ...]) -> np.ndarray:
    """A photo under other light."""
    return np.clip(img * np.array(gains, np.float32), 0, 255).astype(np.uint8)


def errors(image: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Colour error in 8-bit steps and PSNR in dB, inside the face."""
    size = len(image)
    inside = face_oval(size) > 0
    off = image.astype(np.float32) - truth
    slow = np.abs(cv2.GaussianBlur(off, (0, 0), size / 16))[inside].mean()
    return float(slow), float(10 * np.log10(255**2 / np.square(off[inside]).mean()))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('network')
    parser.add_argument('--options')
    parser.add_argument('--people', type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    restorer = Restorer.from_pretrained(args.network, args.options)
    data = SyntheticFaceDataset({'gt_size': restorer.size, 'identities': args.people, 'first_identity': FIRST})
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for i in range(args.people):
        sample = data[i]
        lq, gt, ref = (to_image(x) for x in (sample['lq'], sample['gt'], sample['refs'][0]))
        found.setdefault(('none', ''), []).append(errors(restorer(lq).image, gt))
        for name, gains in TINTS.items():
            for colour in (False, True):
                result = restorer(lq, [tinted(ref, gains)], colour=colour)
                found.setdefault((name, 'on' if colour else 'off'), []).append(errors(result.image, gt))
    print(f'{args.people} people, {restorer.size} px')
    print('| reference | colour care | colour error | PSNR |')
    print('|---|---|---|---|')
    for (name, care), values in found.items():
        slow, psnr = np.mean(values, axis=0)
        print(f'| {name} | {care} | {slow:.2f} | {psnr:.2f} |')


if __name__ == '__main__':
    main()
