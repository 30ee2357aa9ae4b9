"""Training RefSel on triplets (GT, reference, mask) in the form of RefSel-HQ."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.text_files import read_csv, read_lines

from .collections.listing import Missing, folder, images_in, inside
from .collections.manifest import MANIFEST_KEYS, check_io_backend, evenly
from .dataset_settings import whole
from .pairs import Slot, selected_pair
from .samples import AUGMENTATION_KEYS, FACE_KEYS, Augmentation, Faces, PhotoDataset, pack_slots, sample_rng

PARTS = ('gt', 'ref', 'mask')


@DATASET_REGISTRY.register()
class RefSelDataset(PhotoDataset):
    """Triplets `gt/<id>.png`, `ref/<id>.png`, `mask/<id>.png` below `dataroot`, listed in `meta.csv`.

    The mask is 8-bit, in the reference's coordinates, and selects from 128 up. `meta.csv` has a column `id`, and may
    have `identity` (else every triplet is a person of its own) and `provenance`. As in `ReferencePairDataset`, the
    dataset is `draws` times as long as the list, everything random follows from `seed` and index, and a reference can
    be another person's (nothing selected) or the GT itself, warped (the face selected). Augmentation changes light
    only: a mask stays where it was drawn.

    The selection in GT coordinates is known with `landmarks`; without them `gt_mask` is all zero, and flow unknown:
    such samples train RefSel, not RefSTAR.

    Args:
        opt: dataset options, see `option_keys`.

    Raises:
        RefStarError: the options or `meta.csv` are wrong, or files are missing, unreadable or of another size.

    A sample has the keys of `ReferencePairDataset`, with one reference.
    """

    option_keys = {
        'dataroot': 'folder with gt/, ref/, mask/ and meta.csv',
        'provenance': 'use only triplets with one of these values in meta.csv, for example [edited, accepted]',
        'draws': 'different samples made of each triplet before they repeat (default 100)',
        'degradation': 'preset name, or a mapping with preset and/or ranges (default ffhq_ref_train)',
        **{key: MANIFEST_KEYS[key] for key in ('split_file', 'missing', 'max_images', 'io_backend')},
        **FACE_KEYS,
        **AUGMENTATION_KEYS,
    }

    def __init__(self, opt: dict):
        super().__init__(opt, 'ffhq_ref_train')
        self.draws = whole(opt, 'draws', 100, low=1)
        self.augmentation = Augmentation(opt)
        check_io_backend(opt)
        self.root = folder(opt, 'dataroot')
        self.triplets = evenly(self._read(opt), opt.get('max_images'))
        if self.augmentation.wrong_prob > 0 and len({person for _, person, _ in self.triplets}) < 2:
            raise RefStarError('dataset: wrong_ref_prob needs two people; there is one. Set it to 0')
        photos = [files[part] for _, _, files in self.triplets for part in ('gt', 'ref')]
        self.faces = Faces(opt, self.size, [self.root], photos)

    def _read(self, opt: dict) -> list[tuple[str, str, dict[str, Path]]]:
        """(id, person, files) of every triplet to use."""
        meta = self.root / 'meta.csv'
        wanted = set(read_lines(opt['split_file'])) if opt.get('split_file') else None
        allowed = opt.get('provenance')
        missing = Missing(opt.get('missing', 'error'))
        files = {part: {p.stem: p for p in images_in(folder({part: self.root / part}, part))} for part in PARTS}
        triplets = []
        for where, row in read_csv(str(meta), ['id', 'provenance'] if allowed else ['id']):
            name = inside(self.root, row['id'], where).name
            if (wanted is not None and name not in wanted) or (allowed and row['provenance'] not in allowed):
                continue
            gone = [f'{part}/{name}.*' for part in PARTS if name not in files[part]]
            for what in gone:
                missing.note(what)
            if not gone:
                triplets.append((name, row.get('identity') or name, {part: files[part][name] for part in PARTS}))
        missing.settle(str(meta))
        if not triplets:
            raise RefStarError(f'{meta}: no triplet is left to use')
        return triplets

    def __len__(self) -> int:
        return len(self.triplets) * self.draws

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = sample_rng(self.seed, index)
        name, person, files = self.triplets[index % len(self.triplets)]
        mirror = self.augmentation.hflip and rng.random() < 0.5
        gt = self.faces(files['gt'], mirror)
        return {
            **self.degraded(gt.img, rng),
            'gt': to_tensor(gt.img),
            **pack_slots(self._slots(gt, person, files, mirror, rng), 1, self.size),
            'lq_path': f'{name}.png',
            'gt_path': str(files['gt']),
            'identity': person,
        }

    def _slots(self, gt, person: str, files: dict[str, Path], mirror: bool, rng: np.random.Generator) -> list[Slot]:
        chances = self.augmentation
        drop, wrong, own = rng.random(3) < (chances.drop_prob, chances.wrong_prob, chances.self_prob)
        if drop:
            return []
        if wrong:
            ref = self.augmentation.jitter(self.faces(self._stranger(person, rng), mirror), rng)
            return [Slot.without_flow(ref.img, known=True)]
        if own:
            return [self.augmentation.self_pair(gt, rng)]
        ref = self.faces(files['ref'], mirror)
        mask = self.faces.store.read_mask(files['mask'])
        pair = selected_pair(gt, ref, np.ascontiguousarray(mask[:, ::-1]) if mirror else mask)
        return [replace(pair, ref=self.augmentation.light(pair.ref, rng))]

    def _stranger(self, person: str, rng: np.random.Generator) -> Path:
        while (other := self.triplets[rng.integers(len(self.triplets))])[1] == person:
            pass
        return other[2]['ref']
