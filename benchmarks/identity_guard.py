"""How often `refstar restore` takes a stranger's photo for the person's, and the person's for a stranger's.

    python benchmarks/identity_guard.py FACES [--network RESTORER.safetensors] [--pairs 200] [--size 128]

FACES holds `identities/<person>/<photo>`, `splits/lfw_test.txt`, `splits/london_test.txt` and `weights/`. Of every pair
one photo is degraded, the other one is the clean reference; half of the pairs are of each collection, and a wrong pair
is the same degraded photo with a stranger of the same collection. Printed are the false accepts and false rejects at
the default threshold, and the equal error rate with its threshold. --network also measures that network's own check.
Figures only: no photo is written.
"""

import argparse
import random
from pathlib import Path

import cv2
import numpy as np
import torch

from refstar.data.degradation import Degradation
from refstar.restore.identity_check import IdentityChecker
from refstar.utils.image_files import decode_image
from refstar.utils.photo_files import images_in

COLLECTIONS = ('lfw_test', 'london_test')
PRESETS = ('ffhq_ref_moderate', 'ffhq_ref_severe')
NETWORKS = {'mobilefacenet': 'mobilefacenet_ms1m_128.pt', 'edgeface_xxs': 'edgeface_xxs_q.pt'}
Pair = tuple[Path, Path, Path]  # photo to degrade, the person's reference, a stranger's


def draw_pairs(faces: Path, split: str, count: int) -> list[Pair]:
    """Pairs of people of a split, people in turn, photos drawn by a fixed seed."""
    rng = random.Random(0)
    listed = (faces / 'splits' / f'{split}.txt').read_text().split()
    photos = {name: images_in(faces / 'identities' / name) for name in listed}
    names = [name for name in listed if len(photos[name]) > 1]
    pairs = []
    for i in range(count):
        person = names[i % len(names)]
        stranger = rng.choice([name for name in names if name != person])
        pairs.append((*rng.sample(photos[person], 2), rng.choice(photos[stranger])))
    return pairs


def read(path: Path, size: int) -> np.ndarray:
    """An aligned photo, uint8 (size, size, 3), RGB."""
    return cv2.resize(decode_image(path, 'RGB'), (size, size), interpolation=cv2.INTER_AREA)


def degrade(img: np.ndarray, preset: str, seed: int) -> np.ndarray:
    """A photo by published ranges, uint8."""
    return Degradation.from_option(preset, len(img))(img.astype(np.float32) / 255, np.random.default_rng(seed))


def equal_error(right: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Rate at which as many of the right pairs are refused as of the wrong ones accepted, and its threshold."""
    steps = np.sort(np.concatenate([right, wrong]))
    refused = np.array([(right < step).mean() for step in steps])
    accepted = np.array([(wrong >= step).mean() for step in steps])
    at = np.abs(refused - accepted).argmin()
    return float((refused[at] + accepted[at]) / 2), float(steps[at])


def cosines(checker: IdentityChecker, pairs: list[Pair], preset: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of the right and of the wrong pairs."""
    lq = checker.embed([degrade(read(photo, size), preset, i) for i, (photo, _, _) in enumerate(pairs)], True)
    right, wrong = (checker.embed([read(pair[i], size) for pair in pairs], False) for i in (1, 2))
    return (lq * right).sum(1), (lq * wrong).sum(1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('faces', type=Path)
    parser.add_argument('--network', help='a trained RefSTAR with refsel.person')
    parser.add_argument('--pairs', type=int, default=200, help='right ones, and as many wrong ones')
    parser.add_argument('--size', type=int, default=128, help='side of the faces in pixels')
    args = parser.parse_args()
    torch.set_num_threads(1)
    checkers = [IdentityChecker.from_file(name, str(args.faces / 'weights' / file)) for name, file in NETWORKS.items()]
    if args.network:
        from refstar.utils.network_file import load_network

        checkers.insert(0, IdentityChecker.from_network(load_network(args.network)))
    pairs = [pair for split in COLLECTIONS for pair in draw_pairs(args.faces, split, args.pairs // len(COLLECTIONS))]
    print(f'{len(pairs)} right and {len(pairs)} wrong pairs, {args.size} px')
    print('| network | degraded by | threshold | strangers accepted | person refused | equal error rate (at) |')
    print('|---|---|---|---|---|---|')
    for checker in checkers:
        for preset in PRESETS:
            right, wrong = cosines(checker, pairs, preset, args.size)
            rate, at = equal_error(right, wrong)
            far, frr = (wrong >= checker.threshold).mean(), (right < checker.threshold).mean()
            cells = [
                checker.name,
                preset,
                f'{checker.threshold:.2f}',
                f'{far:.1%}',
                f'{frr:.1%}',
                f'{rate:.1%} ({at:.2f})',
            ]
            print(f'| {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
    main()
