"""Procedural people as a BasicSR dataset: endless photos with exact correspondence and selection masks, no download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field
from torch.utils.data import Dataset

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.option_block import Count, DatasetOptions, Expected, Natural, Share

from .degradation import Degradation
from .photo_dataset import DegradationOption
from .synthetic.identity import person
from .synthetic.photo_match import Photo, correspond
from .synthetic.render_photo import draw_shot, take_photo


@DATASET_REGISTRY.register()
class SyntheticFaceDataset(Dataset):
    """Photos of procedural people, with references of the same person and the truth about both.

    A sample depends on the options and its index alone, not on workers or order. Index ``i`` is photo
    ``i // identities`` of identity ``first_identity + i % identities``: the first ``identities`` samples show everyone
    once. Splits are disjoint where their ranges of identities are.

    Args:
        opt: dataset options, see `Options`; with phase `train` a sample has no wrong references.

    Returns:
        The sample dictionary of reference training, images RGB (3, S, S) in [-1, 1]: ``lq``, ``gt``, ``refs``
        (n, 3, S, S), ``ref_valid`` (n,), ``ref_mask`` and ``gt_mask`` (n, 1, S, S), ``mask_known`` (n,), ``flow``
        (n, 2, S, S) in grid_sample's convention (align_corners=False), ``flow_valid`` (n, 1, S, S), ``lq_path``,
        ``gt_path``; outside of training also ``wrong_refs``, ``wrong_valid``, ``identity``.

    Raises:
        RefStarError: a value that makes no sense.
    """

    class Options(DatasetOptions):
        """Keys of the dataset."""

        gt_size: Annotated[int, Field(ge=16), Expected('a whole number from 16')] = Field(
            description='side of all images in pixels'
        )
        identities: Count = Field(description='how many people')
        first_identity: Natural = Field(0, description='number of the first of them')
        photos_per_identity: Annotated[int, Field(ge=2), Expected('a whole number from 2')] = Field(
            100, description='photos of each'
        )
        num_refs: Count = Field(1, description='largest number of references of a sample')
        min_refs: Count | None = Field(
            None, description='smallest number of references of a sample; the rest is padding (default: num_refs)'
        )
        seed: Natural = Field(0, description='every random draw follows from this number and the index')
        degradation: DegradationOption = Field(
            'ffhq_ref_severe', description='preset name, or a mapping with preset and/or ranges'
        )
        wrong_ref_prob: Share = Field(0.0, description='share of references that show another person')
        ref_drop_prob: Share = Field(0.0, description='share of samples without any reference')

    def __init__(self, opt: Mapping[str, Any]):
        self.opt = opt
        self.options = o = self.Options.read(opt, 'dataset')
        self.size, self.identities, self.first, self.seed = o.gt_size, o.identities, o.first_identity, o.seed
        self.photos, self.num_refs, self.min_refs = o.photos_per_identity, o.num_refs, o.min_refs or o.num_refs
        self.train = (o.phase or 'train') == 'train'
        if self.min_refs > o.num_refs:
            raise RefStarError(f'dataset: min_refs = {self.min_refs} is more than num_refs = {o.num_refs}')
        if o.num_refs >= self.photos:
            raise RefStarError(f'dataset: photos_per_identity = {self.photos} must exceed num_refs = {o.num_refs}')
        if self.identities < 2 and (o.wrong_ref_prob or not self.train):
            raise RefStarError('dataset: identities = 1, but wrong references need at least 2')
        self.degradation = Degradation.from_option(o.degradation, self.size)

    def __len__(self) -> int:
        return self.identities * self.photos

    def photo(self, identity: int, number: int) -> Photo:
        """Photo ``number`` of the person ``identity`` (absolute index), with its maps."""
        shot = draw_shot(np.random.default_rng([self.seed, 2, identity, number]))
        return take_photo(person(self.seed, identity, self.size), shot, self.size)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, 3, self.first, index])
        number, place = divmod(index, self.identities)
        identity = self.first + place
        gt = self.photo(identity, number)
        lq = self.degradation(gt.image, rng)
        count = int(rng.integers(self.min_refs, self.num_refs + 1))
        numbers = rng.choice(self.photos - 1, size=count, replace=False)
        numbers += numbers >= number
        wrong = rng.random(count) < self.options.wrong_ref_prob
        others = self.first + (place + rng.integers(1, max(2, self.identities), count)) % self.identities
        if rng.random() < self.options.ref_drop_prob:
            numbers = numbers[:0]

        n, size = self.num_refs, self.size
        zeros = {'refs': 3, 'ref_mask': 1, 'gt_mask': 1, 'flow': 2, 'flow_valid': 1}
        sample = {key: np.zeros((n, channels, size, size), np.float32) for key, channels in zeros.items()}
        sample |= {key: np.zeros(n, bool) for key in ('ref_valid', 'mask_known')}
        for i, shown in enumerate(numbers):
            ref = self.photo(int(others[i]) if wrong[i] else identity, int(shown))
            _stretch(ref, sample['refs'][i])
            sample['ref_valid'][i] = sample['mask_known'][i] = True
            if not wrong[i]:
                found = correspond(gt, ref)
                sample['flow'][i], sample['flow_valid'][i, 0], sample['gt_mask'][i, 0] = found
                sample['ref_mask'][i, 0] = correspond(ref, gt)[2]
        sample['gt'] = _stretch(gt, np.empty_like(gt.planes))
        if not self.train:
            sample['wrong_valid'] = sample['ref_valid'].copy()
            sample['wrong_refs'] = np.zeros_like(sample['refs'])
            for i, shown in enumerate(numbers):
                _stretch(self.photo(int(others[0]), int(shown)), sample['wrong_refs'][i])
        sample = {key: torch.from_numpy(value) for key, value in sample.items()}
        name = f'synthetic/{identity:05d}_{number:04d}.png'
        return sample | {'lq': to_tensor(lq), 'lq_path': name, 'gt_path': name, 'identity': f'{identity:05d}'}


def _stretch(photo: Photo, out: np.ndarray) -> np.ndarray:
    """A photo's planes (3, S, S) in [-1, 1], into `out`."""
    np.multiply(photo.planes, 2, out=out)
    out -= 1
    return out
