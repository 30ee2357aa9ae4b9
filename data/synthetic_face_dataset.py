"""Procedural people as a BasicSR dataset: endless photos with exact correspondence and selection masks, no download."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field
from torch.utils.data import Dataset

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.option_block import Count, DatasetOptions, Expected, Natural, Share

from .degradation import Degradation
from .pairs import PairedReference
from .photo_dataset import PRESET_OR_RANGES, DegradationOption, lq_size, pack_images, pack_references
from .synthetic.identity import person
from .synthetic.render_photo import Photo, correspond, draw_shot, take_photo


@DATASET_REGISTRY.register()
class SyntheticFaceDataset(Dataset):
    """Photos of procedural people, with references of the same person and the truth about both.

    A sample depends on the options and its index alone, not on workers or order. Index `i` is photo
    `i // identities` of identity `first_identity + i % identities`: the first `identities` samples show everyone
    once. Splits are disjoint where their ranges of identities are.

    A sample has the keys of `ReferencePairDataset`; outside of training also `wrong_refs` and `wrong_valid`.

    Raises:
        RefStarError: a value that makes no sense.
    """

    class Options(DatasetOptions):
        """Keys of the dataset."""

        gt_size: Annotated[int, Field(ge=16), Expected('a whole number from 16')] = Field(
            description='image side in pixels'
        )
        identities: Count = Field(description='how many people')
        first_identity: Natural = Field(0, description='number of the first of them')
        photos_per_identity: Count = Field(100, description='photos of each; more than num_refs')
        num_refs: Count = Field(1, description='largest number of references of a sample')
        min_refs: Count | None = Field(None, description='smallest number of references (default: num_refs)')
        seed: Natural = Field(0, description='every random draw follows from this number and the index')
        degradation: DegradationOption = Field('ffhq_ref_severe', description=PRESET_OR_RANGES)
        wrong_ref_prob: Share = Field(0.0, description='share of references that show another person')
        ref_drop_prob: Share = Field(0.0, description='share of samples without any reference')

    def __init__(self, opt: Mapping[str, Any]):
        self.opt = opt
        self.options = o = self.Options.read(opt, 'dataset')
        self.size, self.identities, self.first, self.seed = o.gt_size, o.identities, o.first_identity, o.seed
        self.min_refs = o.min_refs or o.num_refs
        self.train = (o.phase or 'train') == 'train'
        if self.min_refs > o.num_refs:
            raise RefStarError(f'dataset: min_refs = {self.min_refs} is more than num_refs = {o.num_refs}')
        if o.num_refs >= o.photos_per_identity:
            raise RefStarError(
                f'dataset: photos_per_identity = {o.photos_per_identity} must exceed num_refs = {o.num_refs}'
            )
        if self.identities < 2 and (o.wrong_ref_prob or not self.train):
            raise RefStarError('dataset: identities = 1, but wrong references need at least 2')
        lq_size(self.size, o.scale)
        self.degradation = Degradation.from_option(o.degradation, self.size, o.scale or 1)

    def __len__(self) -> int:
        return self.identities * self.options.photos_per_identity

    def photo(self, identity: int, number: int) -> Photo:
        """Take photo `number` of the person `identity` (absolute index), with its maps."""
        shot = draw_shot(np.random.default_rng([self.seed, 2, identity, number]))
        return take_photo(person(self.seed, identity, self.size), shot, self.size)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        o, rng = self.options, np.random.default_rng([self.seed, 3, self.first, index])
        number, place = divmod(index, self.identities)
        identity = self.first + place
        gt = self.photo(identity, number)
        lq = self.degradation(gt.image, rng)
        count = int(rng.integers(self.min_refs, o.num_refs + 1))
        numbers = rng.choice(o.photos_per_identity - 1, size=count, replace=False)
        numbers += numbers >= number
        wrong = rng.random(count) < o.wrong_ref_prob
        others = self.first + (place + rng.integers(1, max(2, self.identities), count)) % self.identities
        if rng.random() < o.ref_drop_prob:
            numbers = numbers[:0]

        pairs = []
        for shown, other, is_wrong in zip(numbers.tolist(), others.tolist(), wrong, strict=False):
            ref = self.photo(other if is_wrong else identity, shown)
            if is_wrong:
                pairs.append(PairedReference.without_flow(ref.image, known=True))
            else:
                flow, visible, selected = correspond(gt, ref)
                ref_mask = correspond(ref, gt)[2]
                pairs.append(PairedReference(ref.image, True, ref_mask, selected, flow.transpose(1, 2, 0), visible))
        sample = pack_references(pairs, o.num_refs, self.size)
        if not self.train:
            images = [self.photo(int(others[0]), shown).image for shown in numbers.tolist()]
            sample['wrong_refs'], sample['wrong_valid'] = pack_images(images, o.num_refs, self.size)
        name = f'synthetic/{identity:05d}_{number:04d}.png'
        paths = {'lq_path': name, 'gt_path': name, 'identity': f'{identity:05d}'}
        return sample | {'lq': to_tensor(lq), 'gt': to_tensor(gt.image)} | paths
