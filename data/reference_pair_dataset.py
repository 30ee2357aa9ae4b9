"""Training on real photos: a photo is degraded, other photos of the person (or itself, warped) are its references."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.option_block import Count, Natural

from .collections.listing import Entry
from .collections.manifest import ManifestOptions, photos_by_identity, read_manifest, weights, without_gt
from .degradation import Degradation
from .mask_proposal import proposed_pair
from .pairs import Face, PairedReference, real_pair
from .photo_dataset import AugmentationOptions, DegradationOption, PhotoOptions, TrainingPhotoDataset, pack_references


@DATASET_REGISTRY.register()
class ReferencePairDataset(TrainingPhotoDataset):
    """Photos of known people, each with references, for training.

    Each of the drawn references is, in this order of decision: with `wrong_ref_prob` another person's photo; with
    `self_pair_prob` (or where the person has no further photo, unless it is 0) the GT itself, warped and in other
    light; else another photo of the person, whose flow and masks are known where `landmarks` has both photos, or with
    `dense_match`.

    A sample has images RGB in [-1, 1], S = `gt_size`, n = `num_refs`:
        gt (3, S, S); lq (3, s, s), s = S / `scale`, and lq_hard alike with `hard_degradation`; refs (n, 3, S, S);
        ref_valid (n,) bool, False on padding; ref_mask, gt_mask (n, 1, S, S) 0/1
        with mask_known (n,) bool; flow (n, 2, S, S) and flow_valid (n, 1, S, S) 0/1; lq_path, gt_path, identity.

    Raises:
        RefStarError: the options are wrong, or photos are missing, unreadable or of another size.
    """

    class Options(AugmentationOptions, ManifestOptions, PhotoOptions):
        """Keys of the dataset."""

        num_refs: Count = Field(1, description='largest number of references of a sample')
        min_refs: Natural = Field(1, description='smallest number of references of a sample that is not dropped')
        dense_match: bool = Field(
            False, description='take flow and masks of real pairs from the optical flow between the two clean photos'
        )
        hard_degradation: DegradationOption | None = Field(None, description='a harder degradation, for lq_hard')

    def __init__(self, opt: Mapping[str, Any]):
        super().__init__(opt)
        o = self.options
        if o.min_refs > o.num_refs:
            raise RefStarError(f'dataset: min_refs = {o.min_refs} is more than num_refs = {o.num_refs}')
        self.hard = None
        if o.hard_degradation is not None:
            self.hard = Degradation.from_option(o.hard_degradation, self.size, self.scale)
        self.entries = read_manifest(opt)
        self.photo_count = len(self.entries)
        if without_gt(self.entries):
            raise RefStarError('dataset: training needs the ground truth; set dataroot_gt')
        shares = weights(self.entries)
        if shares.sum() == 0:
            raise RefStarError(f'{o.reference_csv}: every weight is 0')
        self._chances = None if (shares == shares[0]).all() else shares.cumsum() / shares.sum()
        self.photos = photos_by_identity(self.entries)
        self.people = list(self.photos)
        self._number = {person: i for i, person in enumerate(self.people)}
        self.require_two_people(len(self.people))
        self.open_photos(photo for photos in self.photos.values() for photo in photos)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        at = index % len(self.entries)
        if self._chances is not None:
            at = int(np.searchsorted(self._chances, rng.random(), side='right'))
        entry = self.entries[at]
        mirror = self.options.use_hflip and rng.random() < 0.5
        gt = self.occlude_gt(self.face(entry.gt, mirror), rng)
        sample = {'lq': to_tensor(self.degradation(gt.img, rng)), 'gt': to_tensor(gt.img)}
        references = self._references(entry, gt, mirror, rng)
        if self.hard is not None:
            sample['lq_hard'] = to_tensor(self.hard(gt.img, rng))
        return {
            **sample,
            **pack_references(references, self.options.num_refs, self.size),
            'lq_path': f'{entry.name}.png',
            'gt_path': str(entry.gt),
            'identity': entry.identity,
        }

    def _references(self, entry: Entry, gt: Face, mirror: bool, rng: np.random.Generator) -> list[PairedReference]:
        o = self.options
        if rng.random() < o.ref_drop_prob:
            return []
        others = [entry.refs[i] for i in rng.permutation(len(entry.refs))]
        pair, found = proposed_pair if o.dense_match else real_pair, []
        for _ in range(rng.integers(o.min_refs, o.num_refs + 1)):
            wrong, own = rng.random(2) < (o.wrong_ref_prob, o.self_pair_prob)
            if wrong:
                found.append(PairedReference.without_flow(self._other_person(entry, mirror, rng), known=True))
            elif own or (not others and o.self_pair_prob > 0):
                found.append(self.self_pair(gt, rng))
            elif others:
                real = pair(gt, self.jitter(self.face(others.pop(), mirror), rng))
                found.append(replace(real, ref=self.shrink(real.ref, rng)))
        return found

    def _other_person(self, entry: Entry, mirror: bool, rng: np.random.Generator) -> np.ndarray:
        person = self.people[(self._number[entry.identity] + rng.integers(1, len(self.people))) % len(self.people)]
        photo = self.photos[person][rng.integers(len(self.photos[person]))]
        return self.shrink(self.jitter(self.face(photo, mirror), rng).img, rng)
