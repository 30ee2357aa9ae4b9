"""Build a collection of RefSel-HQ triplets from pairs of photos: propose masks, propagate them, accept the good ones.

Work is done item by item, by several processes. An item is finished when its record is there, which is written last and
follows from the item alone. So a killed build, begun again, skips finished items and ends with the same files.

Below the collection, `build/` holds what is made on the way: `settings.json`, `photos/`, `proposals/`, `masks/`
(records of finished items), `teach/` (proposals as triplets, the best of them listed in its `meta.csv`), `train/`.
"""

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
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

from .mask_propagation import final_mask, train_network
from .mask_review import decided, review_lock
from .pair_sources import PhotoPairs, SyntheticPairs
from .photo_survey import write_image

COLUMNS = ('id', 'identity', 'confidence', 'provenance', 'agreement', 'likeness', 'area', 'similarity', 'spread')
COLUMNS += ('sharpness', 'objection', 'gt_source', 'ref_source', 'reviewed')
SMALLEST = 0.03  # selected share of the picture below which a pair is of no use
TEACHERS, MOST_TEACHERS = 0.5, 1500  # the network learns from this share of the proposals, the best; and from no more


def build_masks(
    root: Path,
    source: SyntheticPairs | PhotoPairs,
    least: Mapping[str, float],
    training: dict | None,
    train: Callable[[list[str]], int],
    jobs: int = 1,
) -> list[dict]:
    """Build a collection, or go on with one that was begun; return the rows of its `meta.csv`.

    Args:
        root: folder of the collection.
        source: of the pairs.
        least: what an accepted mask has at least: `confidence` of the proposal, `agreement` (IoU) with the prediction.
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
        threads = _prepare(root, {**source.settings, 'training': training, 'threads': jobs})['threads']
        run = partial(run_stage, jobs=jobs)
        pairs, faces = source.pairs(work / 'photos', run)
        records = run(work / 'proposals', pairs, partial(_propose, root, faces))
        network = None
        if training:
            network = work / 'train' / 'network.pth'
            if not network.exists():
                _write_teachers(work / 'teach', root, records)
                train_network(network, work / 'teach', training, threads, train)
        reviews = decided(root)
        block = json.dumps(training['network_g']) if training else ''
        decide = partial(final_mask, root, source.size, block, network, frozenset(reviews))
        found = run(work / 'masks', [record['id'] for record in records], decide)
        rows = []
        for record, new in zip(records, found, strict=True):
            wrong = objection(record | new, least)
            state = ('propagated' if training else 'proposed') if wrong else 'accepted'
            row = record | new | {'objection': wrong, 'provenance': state}
            rows.append({key: '' if row.get(key) is None else row[key] for key in COLUMNS} | reviews.get(row['id'], {}))
        write_csv(root / 'meta.csv', rows, COLUMNS)
    return rows


def run_stage(folder: Path, items: Sequence, work: Callable[[Any], Mapping], jobs: int) -> list[dict]:
    """Do the work on all items but those that are finished; return the records of all, in order.

    Args:
        folder: where the records of finished items are kept; its name is the progress bar's title.
        items: the same list, in the same order, in every run.
        work: takes an item, returns a record that JSON can hold. It may write files, each atomically. It is handed to
            other processes.
        jobs: processes.

    Raises:
        RefStarError: what `work` raises, or a process died.
    """
    files = [folder / 'records' / f'{number:06d}.json' for number in range(len(items))]
    todo = [(file, item) for file, item in zip(files, items, strict=True) if not file.exists()]
    _use_one_thread()  # before processes are forked: OpenCV cannot end the threads of another process
    for _ in parallel(partial(_finish, work), todo, jobs, folder.name):
        pass
    return [_read_json(file) for file in files]


def _finish(work: Callable[[Any], Mapping], todo: tuple[Path, Any]) -> None:
    file, item = todo
    _use_one_thread()
    write_text(file, json.dumps(work(item)))


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


def _propose(root: Path, faces: Callable[[Mapping], tuple], pair: Mapping) -> dict:
    """Propose a mask; write the photos, and the proposal as 8-bit grey. Return columns of `meta.csv`, and `points`."""
    gt, ref = faces(pair)
    found = propose(gt, ref)
    for folder, img in (('gt', gt.img), ('ref', ref.img), ('build/teach/mask', found.probability)):
        pixels = np.rint((img[..., ::-1] if img.ndim == 3 else img) * 255).astype(np.uint8)
        write_image(root / folder / f'{pair["id"]}.png', pixels)
    return {
        **{key: pair[key] for key in COLUMNS if key in pair},
        'confidence': round(found.confidence, 4),
        'likeness': round(found.likeness, 4),
        'area': round(float((found.probability > 0.5).mean()), 4),
        'points': [np.round(points.astype(float), 5).tolist() for points in found.points],
    }


def teachers(records: Sequence[Mapping]) -> list[Mapping]:
    """Return the proposals to learn from: of those that select enough, the more confident ones, in the given order."""
    usable = [record for record in records if record['area'] >= SMALLEST]
    ranked = sorted(usable, key=lambda record: -record['confidence'])
    chosen = {record['id'] for record in ranked[: min(MOST_TEACHERS, -int(-TEACHERS * len(ranked) // 1))]}
    return [record for record in usable if record['id'] in chosen]


def objection(record: Mapping, least: Mapping[str, float]) -> str:
    """Return why a mask is not accepted; '' if it is."""
    if record['area'] < SMALLEST:
        return f'selects {100 * record["area"]:.1f} % of the picture'
    if record['confidence'] < least['confidence']:
        return f'confidence {record["confidence"]:.2f}'
    if record.get('agreement', 1.0) < least['agreement']:
        return f'proposal and prediction agree by {record["agreement"]:.2f} only'
    return ''


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
