"""`refstar masks build` from pairs on: propose, propagate, curate; every step can be killed and started again.

Below the collection, `build/` holds what is made on the way: `settings.json`, `photos/`, `proposals/`, `masks/`
(records of finished parts), `teach/` (proposals as triplets, the best of them listed in its `meta.csv`), `train/`.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refstar.data.collections.manifest import evenly
from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import read_text, shorten, write_text

from .build_stages import Crew, run_stage, write_image
from .contact_sheet import contact_sheet
from .mask_curation import Strictness, confidence, objection, teachers
from .mask_propagation import Predictor, train
from .mask_proposal import propose
from .mask_review import decided, review_lock
from .pair_sources import PhotoPairs, SyntheticPairs

COLUMNS = ('id', 'identity', 'confidence', 'provenance', 'agreement', 'likeness', 'area', 'similarity', 'spread')
COLUMNS += ('sharpness', 'objection', 'gt_source', 'ref_source', 'reviewed')
SHEET = 24  # pairs of a contact sheet


class Proposer:
    """Proposes masks; the work of a stage. Writes the photos, and the proposals as 8-bit grey.

    Args:
        pairs: where the photos come from.
        root: folder of the collection.
        proposed: folder of the proposals.
    """

    def __init__(self, pairs: SyntheticPairs | PhotoPairs, root: Path, proposed: Path):
        self.pairs, self.root, self.proposed = pairs, root, proposed

    def __call__(self, indices: Sequence[int]) -> list[dict]:
        """Records for `meta.csv`, and `points`."""
        return [self._propose(index) for index in indices]

    def _propose(self, index: int) -> dict:
        pair = self.pairs[index]
        found = propose(pair.gt, pair.ref)
        name = pair.record['id']
        for part, face in (('gt', pair.gt), ('ref', pair.ref)):
            write_image(self.root / part / f'{name}.png', np.rint(face.img[..., ::-1] * 255).astype(np.uint8))
        write_image(self.proposed / f'{name}.png', np.rint(found.probability * 255).astype(np.uint8))
        return {
            **pair.record,
            'confidence': round(confidence(found), 4),
            'likeness': round(found.likeness, 4),
            'area': round(float((found.probability > 0.5).mean()), 4),
            'points': [np.round(points.astype(float), 5).tolist() for points in found.points],
        }


@dataclass(frozen=True)
class Build:
    """A build of a collection.

    Args:
        root: folder of the collection.
        crew: who works on it.
        lock: of `stages.alone`.
    """

    root: Path
    crew: Crew
    lock: int

    @property
    def work(self) -> Path:
        """Where everything is that is made on the way."""
        return self.root / 'build'

    def prepare(self, settings: Mapping) -> dict:
        """Makes the folders; keeps the settings, which every machine and every later run must share.

        Args:
            settings: what the files depend on; `threads` may differ, the first one holds.

        Returns:
            The settings that hold.

        Raises:
            RefStarError: it was begun with other ones, or the folder holds another collection.
        """
        file = self.work / 'settings.json'
        if self.crew.leads and not file.exists():
            if (self.root / 'meta.csv').exists():
                raise RefStarError(f'{self.root}: holds a collection that was not made here; choose another folder')
            for folder in ('gt', 'ref', 'mask', 'build/teach/mask', 'build/train', 'build/photos/images'):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            for part in ('gt', 'ref'):
                link = self.work / 'teach' / part
                if not link.is_symlink():
                    link.symlink_to(Path('../..') / part, target_is_directory=True)
            write_text(file, json.dumps(settings, indent=1))
        self.crew.wait(file.exists, 'preparation')
        old = json.loads(read_text(file))
        for key in (key for key in {**old, **settings} if key != 'threads'):
            if old.get(key) != json.loads(json.dumps(settings.get(key))):
                raise RefStarError(
                    f'{self.root}: was begun with another {key} ({shorten(old.get(key))}, '
                    f'now {shorten(settings.get(key))}); give the same, or another folder'
                )
        return old

    def propose(self, pairs: SyntheticPairs | PhotoPairs) -> list[dict]:
        """Proposes the masks of all pairs; records as of `Proposer`."""
        work = Proposer(pairs, self.root, self.work / 'teach' / 'mask')
        return run_stage(self.work / 'proposals', range(len(pairs)), work, self.crew, 'propose')

    def propagate(self, records: Sequence[Mapping], opt: dict, threads: int) -> tuple[dict, Path]:
        """Trains the network on the best proposals; its block of options and its file."""
        network = self.work / 'train' / 'network.pth'
        if self.crew.leads and not network.exists():
            self._write_teachers(records)
            train(self.work / 'train', self.work / 'teach', opt, threads, self.lock)
        self.crew.wait(network.exists, 'training')
        return opt['network_g'], network

    def _write_teachers(self, records: Sequence[Mapping]) -> None:
        chosen = teachers(records)
        if len({record['identity'] for record in chosen}) < 2:
            raise RefStarError(
                f'{len(chosen)} of {len(records)} proposals select enough to learn from, and two people are needed; '
                '--iterations 0 leaves propagation out'
            )
        teach = self.work / 'teach'
        names = [f'{part}/{record["id"]}.png' for record in chosen for part in ('ref', 'gt')]
        points = np.array([points for record in chosen for points in record['points']], np.float32)
        file = io.BytesIO()
        np.savez_compressed(file, names=np.array(names), points=points)
        write_atomically(teach / 'points.npz', file.getvalue())
        write_text(
            teach / 'meta.csv', _csv([{k: r[k] for k in ('id', 'identity')} for r in chosen], ['id', 'identity'])
        )

    def predict(self, records: Sequence[Mapping], size: int, network: tuple[dict, Path] | None) -> list[dict]:
        """Writes the masks; the records with what is new. Where a person decided on a mask, it stays as it is."""
        names = [record['id'] for record in records]
        work = Predictor(self.root, self.work / 'teach' / 'mask', size, network, decided(self.root))
        found = run_stage(self.work / 'masks', names, work, self.crew, 'predict' if network else 'write masks')
        return [{**record, **new} for record, new in zip(records, found, strict=True)]

    def curate(self, records: Sequence[Mapping], least: Strictness, propagated: bool) -> list[dict]:
        """Writes `meta.csv`; its rows. The provenance that a person gave stays.

        Raises:
            RefStarError: a review is running.
        """
        with review_lock(self.root):
            given = decided(self.root)
            rows = []
            for record in records:
                wrong = objection(record, least)
                provenance = ('propagated' if propagated else 'proposed') if wrong else 'accepted'
                row = {**record, 'objection': wrong, 'provenance': provenance, **given.get(record['id'], {})}
                rows.append({key: '' if row.get(key) is None else row[key] for key in COLUMNS})
            write_text(self.root / 'meta.csv', _csv(rows, COLUMNS))
        return rows

    def sheet(self, rows: Sequence[Mapping], file: Path) -> None:
        """Draws accepted triplets, evenly taken."""
        names = [row['id'] for row in rows if row['provenance'] in ('accepted', 'edited')]
        if not names:
            raise RefStarError(f'{file}: nothing was accepted that a sheet could show')
        write_image(file, contact_sheet(self.root, evenly(names, SHEET)))


def _csv(rows: Sequence[Mapping], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
