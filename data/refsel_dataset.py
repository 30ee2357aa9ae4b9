"""Training RefSel on triplets (GT, reference, mask) in the form of RefSel-HQ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.option_block import FilePath, Names
from refstar.utils.photo_files import images_in
from refstar.utils.text_files import read_csv, read_lines

from .collections.listing import Missing, folder, inside
from .collections.manifest import ListOptions, check_io_backend, evenly
from .pairs import Face, PairedReference, selected_pair
from .photo_dataset import AugmentationOptions, PhotoOptions, TrainingPhotoDataset, pack_references
from .photometric import relight

PARTS = ('gt', 'ref', 'mask')


@DATASET_REGISTRY.register()
class RefSelDataset(TrainingPhotoDataset):
    """Triplets `gt/<id>.png`, `ref/<id>.png`, `mask/<id>.png` below `dataroot`, listed in `meta.csv`.

    The mask is 8-bit, in the reference's coordinates, and selects from 128 up. `meta.csv` has a column `id`, and may
    have `identity` (else every triplet is a person of its own) and `provenance`. As in `ReferencePairDataset`, a
    reference can be another person's (nothing selected) or the GT itself, warped (the face selected). Augmentation
    changes light only: a mask stays where it was drawn.

    The selection in GT coordinates is known with `landmarks`; without them `gt_mask` is all zero, and flow unknown:
    such samples train RefSel, not RefSTAR.

    A sample has the keys of `ReferencePairDataset`, with one reference.

    Raises:
        RefStarError: the options or `meta.csv` are wrong, or files are missing, unreadable or of another size.
    """

    class Options(AugmentationOptions, ListOptions, PhotoOptions):
        """Keys of the dataset."""

        dataroot: FilePath = Field(description='folder with gt/, ref/, mask/ and meta.csv')
        provenance: Names | None = Field(
            None, description='use only triplets with one of these values in meta.csv, for example [edited, accepted]'
        )

    def __init__(self, opt: Mapping[str, Any]):
        super().__init__(opt)
        check_io_backend(opt)
        self.root = folder(opt, 'dataroot')
        self.triplets = evenly(self._read(opt), self.options.max_images)
        self.photo_count = len(self.triplets)
        self.require_two_people(len({person for _, person, _ in self.triplets}))
        self.open_photos(files[part] for _, _, files in self.triplets for part in ('gt', 'ref'))

    def _read(self, opt: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Path]]]:
        """(id, person, files) of every triplet to use."""
        wanted = set(read_lines(opt['split_file'])) if opt.get('split_file') else None
        allowed, missing, triplets = opt.get('provenance'), Missing(opt.get('missing', 'error')), []
        for _, row, files in read_triplets(self.root, ['provenance'] if allowed else []):
            name = row['id']
            if (wanted is not None and name not in wanted) or (allowed and row['provenance'] not in allowed):
                continue
            gone = [f'{part}/{name}.*' for part in PARTS if files[part] is None]
            for what in gone:
                missing.note(what)
            if not gone:
                triplets.append((name, row.get('identity') or name, files))
        missing.settle(f'{self.root}/meta.csv')
        if not triplets:
            raise RefStarError(f'{self.root}/meta.csv: no triplet is left to use')
        return triplets

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        name, person, files = self.triplets[index % len(self.triplets)]
        mirror = self.options.use_hflip and rng.random() < 0.5
        gt = self.face(files['gt'], mirror)
        return {
            'lq': to_tensor(self.degradation(gt.img, rng)),
            'gt': to_tensor(gt.img),
            **pack_references(self._references(gt, person, files, mirror, rng), 1, self.size),
            'lq_path': f'{name}.png',
            'gt_path': str(files['gt']),
            'identity': person,
        }

    def _references(
        self, gt: Face, person: str, files: dict[str, Path], mirror: bool, rng: np.random.Generator
    ) -> list[PairedReference]:
        o = self.options
        drop, wrong, own = rng.random(3) < (o.ref_drop_prob, o.wrong_ref_prob, o.self_pair_prob)
        if drop:
            return []
        if wrong:
            while (other := self.triplets[rng.integers(len(self.triplets))])[1] == person:
                pass
            ref = self.jitter(self.face(other[2]['ref'], mirror), rng)
            return [PairedReference.without_flow(ref.img, known=True)]
        if own:
            return [self.self_pair(gt, rng)]
        ref = self.face(files['ref'], mirror)
        mask = self.store.read_mask(files['mask'])
        pair = selected_pair(gt, ref, np.ascontiguousarray(mask[:, ::-1]) if mirror else mask)
        return [replace(pair, ref=relight(pair.ref, rng, o.ref_jitter)) if o.ref_jitter else pair]


def read_triplets(root: Path, columns: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, str], dict[str, Path]]]:
    """Read `meta.csv` of a collection: for every row its `file:line`, its columns, and its file (or None) by part.

    Raises:
        RefStarError: `meta.csv` lacks `id` or one of the `columns`, or an id is no plain file name or is there twice.
    """
    files = {part: {p.stem: p for p in images_in(root / part)} for part in PARTS}
    seen = set()
    for where, row in read_csv(str(root / 'meta.csv'), ['id', *columns]):
        name = row['id']
        if inside(root, name, where).parent != root or not name.isprintable():
            raise RefStarError(f'{where}: id {name!r} must be a plain file name')
        if name in seen:
            raise RefStarError(f'{where}: id {name!r} appears twice; remove one of the rows')
        seen.add(name)
        yield where, row, {part: files[part].get(name) for part in PARTS}
