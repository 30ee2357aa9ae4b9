"""Training on real photos: a photo is degraded, other photos of the person (or itself, warped) are its references."""

from pathlib import Path

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor

from .collections.listing import Entry
from .collections.manifest import MANIFEST_KEYS, photos_by_identity, read_manifest, weights, without_gt
from .dataset_settings import whole
from .degradation import Degradation
from .pairs import Face, Slot, real_pair
from .samples import AUGMENTATION_KEYS, FACE_KEYS, Augmentation, Faces, PhotoDataset, pack_slots, sample_rng


@DATASET_REGISTRY.register()
class ReferencePairDataset(PhotoDataset):
    """Photos of known people, each with references, for training.

    The dataset is `draws` times as long as the list of photos, and everything random in a sample follows from `seed`
    and its index: the same index gives the same sample in every process, whatever the number of workers, and two
    visits of a photo differ until all draws are used up. (BasicSR's `dataset_enlarge_ratio` would repeat indices.)

    Each of the drawn references is, in this order of decision: with `wrong_ref_prob` another person's photo; with
    `self_pair_prob` (or where the person has no further photo, unless it is 0) the GT itself, warped and in other
    light; else another photo of the person, whose flow and masks are known where `landmarks` has both photos.

    Args:
        opt: dataset options, see `option_keys`.

    Raises:
        RefStarError: the options are wrong, or photos are missing, unreadable or of another size.

    A sample has images RGB in [-1, 1], S = `gt_size`, n = `num_refs`:
        lq, gt (3, S, S), lq_hard (3, S, S) with `hard_degradation`; refs (n, 3, S, S);
        ref_valid (n,) bool, False on padding; ref_mask, gt_mask (n, 1, S, S) 0/1
        with mask_known (n,) bool; flow (n, 2, S, S) and flow_valid (n, 1, S, S) 0/1; lq_path, gt_path, identity.
    """

    option_keys = {
        **MANIFEST_KEYS,
        **FACE_KEYS,
        **AUGMENTATION_KEYS,
        'num_refs': 'number of reference slots (default 1)',
        'min_refs': 'fewest references of a sample that is not dropped; drawn between this and num_refs (default 1)',
        'degradation': 'preset name, or a mapping with preset and/or ranges (default ffhq_ref_train)',
        'hard_degradation': 'a second, harder degradation: samples then also hold lq_hard (default: none)',
        'draws': 'different samples made of each photo before they repeat (default 100)',
    }

    def __init__(self, opt: dict):
        super().__init__(opt, 'ffhq_ref_train')
        self.num_refs = whole(opt, 'num_refs', 1, low=1)
        self.min_refs = whole(opt, 'min_refs', 1)
        self.draws = whole(opt, 'draws', 100, low=1)
        if self.min_refs > self.num_refs:
            raise RefStarError(f'dataset: min_refs = {self.min_refs} is more than num_refs = {self.num_refs}')
        hard = opt.get('hard_degradation')
        self.hard = None if hard is None else Degradation.from_option(hard, self.size)
        self.augmentation = Augmentation(opt)

        self.entries = read_manifest(opt)
        if without_gt(self.entries):
            raise RefStarError('dataset: training needs the ground truth; set dataroot_gt')
        shares = weights(self.entries)
        if shares.sum() == 0:
            raise RefStarError(f'{opt["reference_csv"]}: every weight is 0')
        self._chances = None if (shares == shares[0]).all() else shares.cumsum() / shares.sum()
        self.photos = photos_by_identity(self.entries)
        self.people = list(self.photos)
        self._number = {person: i for i, person in enumerate(self.people)}
        if self.augmentation.wrong_prob > 0 and len(self.people) < 2:
            raise RefStarError('dataset: wrong_ref_prob needs two people; there is one. Set it to 0')
        roots = [Path(opt[key]) for key in ('dataroot', 'dataroot_gt', 'dataroot_ref') if opt.get(key)]
        self.faces = Faces(opt, self.size, roots, (photo for photos in self.photos.values() for photo in photos))

    def __len__(self) -> int:
        return len(self.entries) * self.draws

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = sample_rng(self.seed, index)
        entry = self._entry(index, rng)
        mirror = self.augmentation.hflip and rng.random() < 0.5
        gt = self.augmentation.occlude_gt(self.faces(entry.gt, mirror), rng)
        lq = self.degraded(gt.img, rng)
        slots = self._slots(entry, gt, mirror, rng)
        hard = {} if self.hard is None else self.degraded(gt.img, rng, self.hard, 'lq_hard')
        return {
            **lq,
            **hard,
            'gt': to_tensor(gt.img),
            **pack_slots(slots, self.num_refs, self.size),
            'lq_path': f'{entry.name}.png',
            'gt_path': str(entry.gt),
            'identity': entry.identity,
        }

    def _entry(self, index: int, rng: np.random.Generator) -> Entry:
        if self._chances is None:
            return self.entries[index % len(self.entries)]
        return self.entries[int(np.searchsorted(self._chances, rng.random(), side='right'))]

    def _slots(self, entry: Entry, gt: Face, mirror: bool, rng: np.random.Generator) -> list[Slot]:
        if rng.random() < self.augmentation.drop_prob:
            return []
        others = [entry.refs[i] for i in rng.permutation(len(entry.refs))]
        slots = []
        for _ in range(rng.integers(self.min_refs, self.num_refs + 1)):
            wrong, own = rng.random(2) < (self.augmentation.wrong_prob, self.augmentation.self_prob)
            if wrong:
                slots.append(Slot.without_flow(self._stranger(entry, mirror, rng).img, known=True))
            elif own or (not others and self.augmentation.self_prob > 0):
                slots.append(self.augmentation.self_pair(gt, rng))
            elif others:
                slots.append(real_pair(gt, self.augmentation.jitter(self.faces(others.pop(), mirror), rng)))
        return slots

    def _stranger(self, entry: Entry, mirror: bool, rng: np.random.Generator) -> Face:
        start = self._number[entry.identity]
        person = self.people[(start + rng.integers(1, len(self.people))) % len(self.people)]
        photo = self.photos[person][rng.integers(len(self.photos[person]))]
        return self.augmentation.jitter(self.faces(photo, mirror), rng)
