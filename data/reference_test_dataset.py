"""Validation and test on real photos: degraded images with the right references and a wrong person's."""

import zlib
from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field

from refstar.utils.image_files import to_tensor
from refstar.utils.option_block import Count

from .collections.manifest import ManifestOptions, photos_by_identity, read_manifest
from .pairs import real_pair
from .photo_dataset import (
    PRESET_OR_RANGES,
    DegradationOption,
    PhotoDataset,
    PhotoOptions,
    pack_images,
    pack_references,
    sample_rng,
)


@DATASET_REGISTRY.register()
class ReferenceTestDataset(PhotoDataset):
    """Images with references, for the three arms right, none, wrong.

    The degraded image is read where the options name one, else it is synthesised from the GT; the draws follow from
    `seed` and the image's name, so they stay the same when the list is cut or the order changes. The right references
    are the first `num_refs` of the list, never repeated; the wrong ones are as many photos of another, fixed person.

    A sample has images RGB in [-1, 1], S = `gt_size`, n = `num_refs`:
        lq (3, s, s), s = S / `scale`; gt (3, S, S) where there is one; refs, wrong_refs (n, 3, S, S) with
        ref_valid, wrong_valid (n,) bool;
        lq_path (its stem is unique), gt_path, identity; and where `landmarks` has the GT and a reference: ref_mask,
        gt_mask, mask_known, flow, flow_valid as in training.

    Raises:
        RefStarError: the options are wrong, or photos are missing, unreadable or of another size.
    """

    class Options(ManifestOptions, PhotoOptions):
        """Keys of the dataset."""

        num_refs: Count = Field(1, description='largest number of references of a sample')
        degradation: DegradationOption = Field('ffhq_ref_severe', description=PRESET_OR_RANGES)

    def __init__(self, opt: Mapping[str, Any]):
        super().__init__(opt)
        self.photos = photos_by_identity(read_manifest({**opt, 'max_images': None}))
        self.entries = read_manifest(opt)
        people = [name for name, photos in self.photos.items() if photos]  # a list may name LQ alone
        half = max(1, len(people) // 2)
        self.other = {name: people[(i + half) % len(people)] for i, name in enumerate(people)}
        self.open_photos(photo for photos in self.photos.values() for photo in photos)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        entry, count = self.entries[index], self.options.num_refs
        refs = [self.face(path) for path in entry.refs[:count]]
        other = self.other.get(entry.identity, entry.identity)
        wrong = self.photos[other][: len(refs)] if other != entry.identity else []
        sample = {'identity': entry.identity}
        sample['refs'], sample['ref_valid'] = pack_images([face.img for face in refs], count, self.size)
        wrong_images = [self.face(path).img for path in wrong]
        sample['wrong_refs'], sample['wrong_valid'] = pack_images(wrong_images, count, self.size)
        if entry.lq is not None:
            sample |= {'lq': to_tensor(self.lq_store(entry.lq)), 'lq_path': str(entry.lq)}
        if entry.gt is None:
            return sample
        gt = self.face(entry.gt)
        references = [real_pair(gt, ref) for ref in refs]
        if any(pair.known for pair in references):
            sample |= pack_references(references, count, self.size)
        sample |= {'gt': to_tensor(gt.img), 'gt_path': str(entry.gt)}
        if entry.lq is None:
            lq = self.degradation(gt.img, sample_rng(self.seed, zlib.crc32(entry.name.encode())))
            sample |= {'lq': to_tensor(lq), 'lq_path': f'{entry.name}.png'}
        return sample
