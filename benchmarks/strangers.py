"""How well `refstar restore` tells a stranger's photo from the person's, by set and degradation.

    python benchmarks/strangers.py PORTRAITS FACES [--network RESTORER | --identity NAME FILE] [--size 256]

People who were never taught: portraits_val and portraits_test, the London people that are not in
options/release/london_train.txt, lfw_test. Every photo is degraded once and compared with every clean photo of the set.
A photo is left out, or used with a warning, as `IdentityVerdict` says (restore/faces.py). Printed too: what of the
person's own is left out where one threshold leaves out 97 % of strangers, and the equal error rate. Figures only.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from refstar.data.degradation import Degradation
from refstar.restore.faces import IdentityVerdict
from refstar.restore.identity_check import IdentityChecker
from refstar.utils.image_files import decode_image
from refstar.utils.photo_files import images_in
from refstar.utils.text_files import read_lines

LONDON_TRAIN = Path(__file__).parents[1] / 'options/release/london_train.txt'
PRESETS = ('ffhq_ref_moderate', 'ffhq_ref_severe')
MOST = 3  # photos of a person


def read(path: Path, size: int) -> np.ndarray:
    """An aligned photo, uint8 (size, size, 3), RGB."""
    return cv2.resize(decode_image(path, 'RGB'), (size, size), interpolation=cv2.INTER_AREA)


def degrade(img: np.ndarray, preset: str, seed: int) -> np.ndarray:
    """A photo by published ranges, uint8."""
    return Degradation.from_option(preset, len(img))(img.astype(np.float32) / 255, np.random.default_rng(seed))


def sets(portraits: Path, faces: Path) -> dict[str, tuple[Path, list[str], int]]:
    """Name -> folder, people, and the largest side that their photos have."""
    london = [p for p in read_lines(faces / 'splits/london_test.txt') if p not in read_lines(LONDON_TRAIN)]
    held_out = [p for part in ('val', 'test') for p in read_lines(portraits / f'splits/portraits_{part}.txt')]
    return {
        'portraits': (portraits, held_out, 256),
        'London': (faces, london, 256),
        'LFW': (faces, read_lines(faces / 'splits/lfw_test.txt'), 128),
    }


def compare(
    checker: IdentityChecker, root: Path, people: list[str], size: int, preset: str
) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts on pairs of the same person and on strangers: rows of probability, left out, warned of."""
    photos = [(p, photo) for p in people for photo in images_in(root / 'identities' / p)[:MOST]]
    images = [read(photo, size) for _, photo in photos]
    clean = checker.embed(images, False)
    degraded = checker.embed([degrade(img, preset, i) for i, img in enumerate(images)], True)
    table = np.array([[verdict(checker, z, r) for r in clean] for z in degraded])
    names = np.array([p for p, _ in photos])
    same = names[:, None] == names
    return table[same & ~np.eye(len(names), dtype=bool)], table[~same]


def verdict(checker: IdentityChecker, face: np.ndarray, reference: np.ndarray) -> tuple[float, bool, bool]:
    """Probability of the same person, whether the reference is left out, whether there is a warning."""
    found = IdentityVerdict('', *checker.judge(face, reference))
    return found.probability, found.stranger, found.unsure


def equal_error(own: np.ndarray, strangers: np.ndarray) -> float:
    """Rate at which as many of the person's own photos are refused as of strangers' accepted."""
    steps = np.sort(np.concatenate([own, strangers]))
    refused = np.searchsorted(np.sort(own), steps) / len(own)
    accepted = 1 - np.searchsorted(np.sort(strangers), steps) / len(strangers)
    at = np.abs(refused - accepted).argmin()
    return float((refused[at] + accepted[at]) / 2)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('portraits', type=Path)
    parser.add_argument('faces', type=Path)
    parser.add_argument('--network', help='a trained RefSTAR with refsel.person')
    parser.add_argument('--identity', nargs=2, metavar=('NAME', 'FILE'), help='another identity network')
    parser.add_argument('--size', type=int, default=256, help='side of the faces in pixels, at most')
    args = parser.parse_args()
    torch.set_num_threads(1)
    checker = IdentityChecker.from_file(*args.identity) if args.identity else IdentityChecker.shipped()
    if args.network:
        from refstar.utils.network_file import load_network

        checker = IdentityChecker.from_network(load_network(args.network))
    print(checker.name)
    columns = (
        'people, degradation',
        'strangers left out',
        'own left out',
        'own warned of',
        'own lost at 97 %',
        'equal error',
    )
    print(f'| {" | ".join(columns)} |\n|---|---|---|---|---|---|')
    for name, (root, people, largest) in sets(args.portraits, args.faces).items():
        for preset in PRESETS:
            own, strangers = compare(checker, root, people, min(args.size, largest), preset)
            shares = [
                strangers[:, 1].mean(),
                own[:, 1].mean(),
                own[:, 2].mean(),
                (own[:, 0] < np.quantile(strangers[:, 0], 0.97)).mean(),
                equal_error(own[:, 0], strangers[:, 0]),
            ]
            print(f'| {name}, {preset[9:]} | {" | ".join(f"{share:.1%}" for share in shares)} |', flush=True)


if __name__ == '__main__':
    main()
