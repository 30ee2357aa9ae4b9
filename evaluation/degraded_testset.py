"""Degraded test photos by published ranges and a seed, for test sets whose official ones are absent.

A file beside them says what they are, so that nothing made here is called by a published name.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refstar.data.degradation import Degradation
from refstar.data.photo_dataset import sample_rng
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import write_text

from .scores import read_photo, shape
from .testset import PROVENANCE, Sample


def describe(degradation: str | Mapping[str, Any], seed: int, size: int) -> str:
    """Return what a test set made by these options is called: `synthesised, ffhq_ref_severe ranges, seed 0`."""
    opt = {'preset': degradation} if isinstance(degradation, str) else dict(degradation)
    changed = ', '.join(f'{k} {v}' for k, v in opt.items() if k != 'preset')
    ranges = f'{opt["preset"]} ranges' if 'preset' in opt else 'own ranges'
    made_for = Degradation.from_option(degradation, size).reference_size
    scaled = '' if size == made_for else f', scaled from {made_for} to {size} px'
    return f'synthesised, {ranges}{f" with {changed}" if changed else ""}, seed {seed}{scaled}'


def write_provenance(folder: Path, text: str, photos_of: str = '') -> None:
    """Write beside degraded photos what they are, and the places of the photos that they were made of."""
    write_text(folder / PROVENANCE, json.dumps({'text': text, 'photos_of': photos_of}, indent=2))


def synthesise(samples: Sequence[Sample], preset: str, seed: int, out: Path, size: int | None = None) -> None:
    """Degrade the ground truth of a test set into `<out>/<name>.png`: the draws of `ReferenceTestDataset`.

    Args:
        samples: of the test set.
        preset: name of published ranges, see ``data/degradation.py``.
        seed: every draw follows from it and from the photo's name.
        out: folder, new or empty.
        size: side to which the ground truth is brought first.

    Raises:
        RefStarError: the folder holds something, there is no ground truth, or photos are not square or differ in size.
    """
    if out.is_dir() and any(out.iterdir()):
        raise RefStarError(f'--lq {out}: is not empty; degraded photos are written into a new folder only')
    degradation, made = None, []
    for sample in samples:
        if sample.gt is None:
            raise RefStarError(f'{sample.name}: no ground truth to degrade; give --gt')
        gt = read_photo(sample.gt, size)
        side = degradation.size if degradation else gt.shape[0]
        if gt.shape[:2] != (side, side):
            raise RefStarError(f'{sample.gt}: is {shape(gt)}, expected {side}x{side}; see --size')
        degradation = degradation or Degradation.from_option(preset, side)
        lq = degradation(gt[..., ::-1] / np.float32(255), sample_rng(seed, zlib.crc32(sample.name.encode())))
        made.append((sample.name, lq[..., ::-1]))
    write_provenance(out, describe(preset, seed, side), str(samples[0].gt.parent))
    for name, lq in made:
        cv2.imwrite(str(out / f'{name}.png'), lq)
