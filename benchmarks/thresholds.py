"""What the fixed similarities of `refstar restore` do with the identity network that ships, on people of no training.

    python benchmarks/thresholds.py PORTRAITS FACES

Clean: two good photos count as one person's from CLEAN on (restore/identity_check.py). Films: a frame below DOUBTFUL of
the frames before may show another person, below CUT it does (restore/face_tracking.py). A next frame is the same photo,
moved by a pixel, degraded alike with new noise; a cut is another person's photo, degraded alike. Figures only.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from strangers import MOST, PRESETS, read, sets

from refstar.data.degradation import Degradation
from refstar.restore.face_tracking import CUT, DOUBTFUL
from refstar.restore.identity_check import CLEAN, IdentityChecker
from refstar.utils.photo_files import images_in

STEPS = (1, 5, 50, 95, 99)  # percentiles
DRAWN = 3  # degradations


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows at length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class NewNoise:
    """A generator that draws the degradation of a seed, and the noise of a frame."""

    def __init__(self, seed: int, frame: int) -> None:
        self.rng, self.noise = np.random.default_rng(seed), np.random.default_rng((seed, frame))
        self.random, self.uniform = self.rng.random, self.rng.uniform

    def integers(self, *args: Any, size: Any = None, **kwargs: Any) -> Any:
        """Many numbers are noise, a single one is a quality."""
        return (self.rng if size is None else self.noise).integers(*args, size=size, **kwargs)


def frames(checker: IdentityChecker, images: list[np.ndarray], preset: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Unit embeddings of two frames of every photo, for every degradation."""
    degradation = Degradation.from_option(preset, len(images[0]))
    for seed in range(DRAWN):
        pair = []
        for frame in (0, 1):
            moved = [np.roll(img, frame, axis=1).astype(np.float32) / 255 for img in images]
            pair.append(unit(checker.embed([degradation(img, NewNoise(seed, frame)) for img in moved], True)))
        yield tuple(pair)


def line(name: str, own: np.ndarray, others: np.ndarray, thresholds: dict[str, float]) -> str:
    """A row of the table: percentiles, and what lies below each threshold."""
    cells = [' '.join(f'{x:.2f}' for x in np.percentile(values, STEPS)) for values in (own, others)]
    cells += [f'{key} {t}: {(own < t).mean():.1%} / {(others < t).mean():.1%}' for key, t in thresholds.items()]
    return f'| {name} | {" | ".join(cells)} |'


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    checker = IdentityChecker.shipped()
    print(f'percentiles {STEPS}; then the share of the own and of others below a threshold')
    for name, (root, people, size) in sets(*map(Path, sys.argv[1:3])).items():
        photos = [(p, read(photo, size)) for p in people for photo in images_in(root / 'identities' / p)[:MOST]]
        names, images = np.array([p for p, _ in photos]), [img for _, img in photos]
        same = names[:, None] == names
        clean = checker.embed(images, False)
        table, other = clean @ clean.T, ~np.eye(len(names), dtype=bool)
        print(line(f'{name}, clean', table[same & other], table[~same], {'CLEAN': CLEAN}), flush=True)
        for preset in PRESETS:
            tables = np.stack([first @ second.T for first, second in frames(checker, images, preset)])
            own, others = tables[:, np.eye(len(names), dtype=bool)], tables[:, ~same]
            limits = {'DOUBTFUL': DOUBTFUL, 'CUT': CUT}
            print(line(f'{name}, {preset[9:]}', own.ravel(), others.ravel(), limits), flush=True)


if __name__ == '__main__':
    main()
