"""Build a collection of RefSel-HQ triplets from pairs of photos: propose masks, propagate them, curate.

Work is done in parts of a few items, each in a process of its own. A part is finished when its file of records is
there, which is written last and follows from its items alone. So a killed build, begun again, skips finished parts and
ends with the same files.

Below the collection, `build/` holds what is made on the way: `settings.json`, `photos/`, `proposals/`, `masks/`
(records of finished parts), `teach/` (proposals as triplets, the best of them listed in its `meta.csv`), `train/`.
"""

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from refstar.data.mask_proposal import propose
from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError
from refstar.utils.parallel import parallel
from refstar.utils.text_files import read_text, shorten, write_csv, write_text

from .mask_curation import Strictness, confidence, objection, teachers
from .mask_propagation import Predictor, train_network
from .mask_review import decided, review_lock
from .pair_sources import PhotoPairs, PhotoSource, SyntheticPairs
from .photo_survey import write_image

COLUMNS = ('id', 'identity', 'confidence', 'provenance', 'agreement', 'likeness', 'area', 'similarity', 'spread')
COLUMNS += ('sharpness', 'objection', 'gt_source', 'ref_source', 'reviewed')
PART = 16  # items of a part: what a kill can cost each process


def build_masks(
    root: Path,
    source: SyntheticPairs | PhotoSource,
    least: Strictness,
    training: dict | None,
    train: Callable[[list[str]], int],
    jobs: int = 1,
) -> list[dict]:
    """Build a collection, or go on with one that was begun; return the rows of its `meta.csv`.

    Args:
        root: folder of the collection.
        source: of the pairs.
        least: what an accepted mask has at least.
        training: of `training_options`; None: no propagation, a proposal is the mask.
        train: runs `basicsr train` with the given arguments in the current folder; returns the exit code.
        jobs: processes.

    Raises:
        RefStarError: wrong input, a build with other settings was begun there, or another build or review is running.
    """
    work = root / 'build'
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RefStarError(f'{root}: cannot be written to ({error.strerror})') from None
    with review_lock(root):
        threads = _prepare(root, {**source.settings(), 'training': training, 'threads': jobs})['threads']
        run = partial(run_stage, jobs=jobs)
        pairs = source.pairs(work / 'photos', run)
        records = run(work / 'proposals', range(len(pairs)), Proposer(pairs, root), title='propose')
        network = None
        if training:
            network = work / 'train' / 'network.pth'
            if not network.exists():
                _write_teachers(work / 'teach', root, records)
                train_network(network, work / 'teach', training, threads, train)
        reviews = decided(root)
        block = json.dumps(training['network_g']) if training else ''
        predictor = Predictor(root, source.size, block, network, frozenset(reviews))
        found = run(work / 'masks', [r['id'] for r in records], predictor, title='predict' if training else 'masks')
        rows = []
        for record, new in zip(records, found, strict=True):
            wrong = objection(record | new, least)
            state = ('propagated' if training else 'proposed') if wrong else 'accepted'
            row = record | new | {'objection': wrong, 'provenance': state}
            rows.append({key: '' if row.get(key) is None else row[key] for key in COLUMNS} | reviews.get(row['id'], {}))
        write_csv(root / 'meta.csv', rows, COLUMNS)
    return rows


def run_stage(folder: Path, items: Sequence, work: Callable[[Sequence], list], title: str, jobs: int) -> list[dict]:
    """Do the work on all items, except on parts that are finished; return the records of all items, in order.

    Args:
        folder: where the records of finished parts are kept.
        items: the same list, in the same order, in every run.
        work: takes some items, returns as many records that JSON can hold. It may write files, each atomically. It is
            handed to other processes.
        title: of the progress bar.
        jobs: processes.

    Raises:
        RefStarError: what `work` raises, or a process died.
    """
    starts = range(0, len(items), PART)
    files = [folder / f'{number:05d}.json' for number in range(len(starts))]
    todo = [(file, items[i : i + PART]) for file, i in zip(files, starts, strict=True) if not file.exists()]
    _use_one_thread()  # before processes are forked: OpenCV cannot end the threads of another process
    for _ in parallel(partial(_finish, work), todo, jobs, title):
        pass
    return [record for file in files for record in _read_json(file)]


def _finish(work: Callable[[Sequence], list], part: tuple[Path, Sequence]) -> None:
    file, items = part
    _use_one_thread()
    write_text(file, json.dumps(work(items), indent=1))


def _use_one_thread() -> None:
    """Use one thread a process: more would fight over the cores, and the last bits depend on their number."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(read_text(file))
    except ValueError as error:
        raise RefStarError(f'{file}: is broken ({error}); delete it and run the same command again') from None


def _prepare(root: Path, settings: Mapping) -> dict:
    """Make the folders; keep and return the settings, which later runs must share (but `threads`: the first holds)."""
    file = root / 'build' / 'settings.json'
    if not file.exists():
        if (root / 'meta.csv').exists():
            raise RefStarError(f'{root}: holds a collection that was not made here; choose another folder')
        for folder in ('gt', 'ref', 'mask', 'build/teach/mask', 'build/train', 'build/photos/images'):
            (root / folder).mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(settings, indent=1))
    old, new = _read_json(file), json.loads(json.dumps(settings))
    for key in old | new:
        if key != 'threads' and old.get(key) != new.get(key):
            raise RefStarError(
                f'{root}: was begun with another {key} ({shorten(old.get(key))}, now {shorten(new.get(key))}); '
                'give the same, or another folder'
            )
    return old


@dataclass(frozen=True)
class Proposer:
    """Propose masks; the work of a stage. Writes the photos, and the proposals as 8-bit grey, below `root`."""

    pairs: SyntheticPairs | PhotoPairs
    root: Path

    def __call__(self, indices: Sequence[int]) -> list[dict]:
        """Return records with columns of `meta.csv`, and `points`."""
        return [self._propose(index) for index in indices]

    def _propose(self, index: int) -> dict:
        gt, ref, record = self.pairs[index]
        found = propose(gt, ref)
        for folder, img in (('gt', gt.img), ('ref', ref.img), ('build/teach/mask', found.probability)):
            pixels = np.rint((img[..., ::-1] if img.ndim == 3 else img) * 255).astype(np.uint8)
            write_image(self.root / folder / f'{record["id"]}.png', pixels)
        return {
            **record,
            'confidence': round(confidence(found), 4),
            'likeness': round(found.likeness, 4),
            'area': round(float((found.probability > 0.5).mean()), 4),
            'points': [np.round(points.astype(float), 5).tolist() for points in found.points],
        }


def _write_teachers(teach: Path, root: Path, records: Sequence[Mapping]) -> None:
    """Make the best proposals a data set: `meta.csv`, `points.npz`, and the photos of the collection."""
    chosen = teachers(records)
    if len({record['identity'] for record in chosen}) < 2:
        raise RefStarError(
            f'{len(chosen)} of {len(records)} proposals select enough to learn from, and two people are needed; '
            '--iterations 0 leaves propagation out'
        )
    for folder in ('gt', 'ref'):
        if not (teach / folder).exists():
            try:
                (teach / folder).symlink_to(Path('../..') / folder, target_is_directory=True)
            except OSError:  # Windows, without the right to make links
                shutil.copytree(root / folder, teach / folder)
    names = [f'{folder}/{record["id"]}.png' for record in chosen for folder in ('ref', 'gt')]
    points = np.array([points for record in chosen for points in record['points']], np.float32)
    file = io.BytesIO()
    np.savez_compressed(file, names=np.array(names), points=points)
    write_atomically(teach / 'points.npz', file.getvalue())
    write_csv(teach / 'meta.csv', chosen, ['id', 'identity'])
