"""Procedural people as a BasicSR dataset: endless photos with exact correspondence and selection masks, no download."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor

from .degradation import Degradation
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
        opt: dataset options, see `option_keys`; with phase `train` a sample has no wrong references.

    Returns:
        The sample dictionary of reference training, images RGB (3, S, S) in [-1, 1]: ``lq``, ``gt``, ``refs``
        (n, 3, S, S), ``ref_valid`` (n,), ``ref_mask`` and ``gt_mask`` (n, 1, S, S), ``mask_known`` (n,), ``flow``
        (n, 2, S, S) in grid_sample's convention (align_corners=False), ``flow_valid`` (n, 1, S, S), ``lq_path``,
        ``gt_path``; outside of training also ``wrong_refs``, ``wrong_valid``, ``identity``.

    Raises:
        RefStarError: a value that makes no sense.
    """

    option_keys = {
        'gt_size': 'side of all images in pixels',
        'identities': 'how many people',
        'first_identity': 'number of the first of them (default 0)',
        'photos_per_identity': 'photos of each (default 100)',
        'num_refs': 'number of reference slots (default 1)',
        'min_refs': 'fewest references in a sample; the other slots are padding (default num_refs)',
        'seed': 'every random draw follows from this number and the index (default 0)',
        'degradation': 'preset name, or a mapping with preset and/or ranges (default ffhq_ref_severe)',
        'wrong_ref_prob': 'share of references that show somebody else (default 0)',
        'ref_drop_prob': 'share of samples without any reference (default 0)',
    }

    def __init__(self, opt: Mapping):
        self.opt = opt
        self.size = _whole(opt, 'gt_size', None, 16)
        self.identities = _whole(opt, 'identities', None, 1)
        self.first = _whole(opt, 'first_identity', 0, 0)
        self.photos = _whole(opt, 'photos_per_identity', 100, 2)
        self.slots = _whole(opt, 'num_refs', 1, 1)
        self.min_refs = _whole(opt, 'min_refs', self.slots, 1)
        self.seed = _whole(opt, 'seed', 0, 0)
        self.wrong_ref_prob = _share(opt, 'wrong_ref_prob')
        self.ref_drop_prob = _share(opt, 'ref_drop_prob')
        self.train = opt.get('phase', 'train') == 'train'
        if self.min_refs > self.slots:
            raise RefStarError(f'min_refs = {self.min_refs} exceeds num_refs = {self.slots}')
        if self.slots >= self.photos:
            raise RefStarError(f'num_refs = {self.slots} needs photos_per_identity above it, got {self.photos}')
        if self.identities < 2 and (self.wrong_ref_prob or not self.train):
            raise RefStarError('identities = 1: wrong references need at least 2 identities')
        self.degradation = Degradation.from_option(opt.get('degradation', 'ffhq_ref_severe'), self.size)

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
        count = int(rng.integers(self.min_refs, self.slots + 1))
        numbers = rng.choice(self.photos - 1, size=count, replace=False)
        numbers += numbers >= number
        wrong = rng.random(count) < self.wrong_ref_prob
        others = self.first + (place + rng.integers(1, max(2, self.identities), count)) % self.identities
        if rng.random() < self.ref_drop_prob:
            numbers = numbers[:0]

        n, size = self.slots, self.size
        zeros = {'refs': 3, 'ref_mask': 1, 'gt_mask': 1, 'flow': 2, 'flow_valid': 1}
        sample = {key: np.zeros((n, channels, size, size), np.float32) for key, channels in zeros.items()}
        sample |= {key: np.zeros(n, bool) for key in ('ref_valid', 'mask_known')}
        for slot, shown in enumerate(numbers):
            ref = self.photo(int(others[slot]) if wrong[slot] else identity, int(shown))
            _stretch(ref, sample['refs'][slot])
            sample['ref_valid'][slot] = sample['mask_known'][slot] = True
            if not wrong[slot]:
                found = correspond(gt, ref)
                sample['flow'][slot], sample['flow_valid'][slot, 0], sample['gt_mask'][slot, 0] = found
                sample['ref_mask'][slot, 0] = correspond(ref, gt)[2]
        sample['gt'] = _stretch(gt, np.empty_like(gt.planes))
        if not self.train:
            sample['wrong_valid'] = sample['ref_valid'].copy()
            sample['wrong_refs'] = np.zeros_like(sample['refs'])
            for slot, shown in enumerate(numbers):
                _stretch(self.photo(int(others[0]), int(shown)), sample['wrong_refs'][slot])
        sample = {key: torch.from_numpy(value) for key, value in sample.items()}
        name = f'synthetic/{identity:05d}_{number:04d}.png'
        return sample | {'lq': to_tensor(lq), 'lq_path': name, 'gt_path': name, 'identity': f'{identity:05d}'}


def _stretch(photo: Photo, out: np.ndarray) -> np.ndarray:
    """A photo's planes (3, S, S) in [-1, 1], into `out`."""
    np.multiply(photo.planes, 2, out=out)
    out -= 1
    return out


def _whole(opt: Mapping, key: str, default: int | None, least: int) -> int:
    value = opt.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RefStarError(f'SyntheticFaceDataset: {key} must be a whole number of at least {least}, got {value!r}')
    return value


def _share(opt: Mapping, key: str) -> float:
    value = opt.get(key, 0.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise RefStarError(f'SyntheticFaceDataset: {key} must lie between 0 and 1, got {value!r}')
    return float(value)
