"""Validation and test on real photos: degraded images with the right references and a wrong person's."""

import zlib
from pathlib import Path

import torch
from basicsr.utils.registry import DATASET_REGISTRY

from refstar.utils.image_files import to_tensor

from .collections.manifest import MANIFEST_KEYS, Entry, photos_by_identity, read_manifest
from .dataset_settings import whole
from .pairs import real_pair
from .samples import FACE_KEYS, Faces, PhotoDataset, pack_slots, sample_rng


@DATASET_REGISTRY.register()
class ReferenceTestDataset(PhotoDataset):
    """Images with references, for the three arms right, none, wrong.

    The degraded image is read where the options name one, else it is synthesised from the GT; the draws follow from
    `seed` and the image's name, so they stay the same when the list is cut or the order changes. The right references
    are the first `num_refs` of the list, never repeated; the wrong ones are as many photos of another, fixed person.

    Args:
        opt: dataset options, see `option_keys`.

    Raises:
        RefStarError: the options are wrong, or photos are missing, unreadable or of another size.

    A sample has images RGB in [-1, 1], S = `gt_size`, n = `num_refs`:
        lq (3, S, S); gt (3, S, S) where there is one; refs, wrong_refs (n, 3, S, S); ref_valid, wrong_valid (n,) bool;
        lq_path (its stem is unique), gt_path, identity; and where `landmarks` has the GT and a reference: ref_mask,
        gt_mask, mask_known, flow, flow_valid as in training.
    """

    option_keys = {
        **MANIFEST_KEYS,
        **FACE_KEYS,
        'num_refs': 'number of reference slots (default 1)',
        'degradation': 'preset name, or a mapping with preset and/or ranges (default ffhq_ref_severe)',
    }

    def __init__(self, opt: dict):
        super().__init__(opt, 'ffhq_ref_severe')
        self.num_refs = whole(opt, 'num_refs', 1, low=1)
        self.photos = photos_by_identity(read_manifest({**opt, 'max_images': None}))
        self.entries = read_manifest(opt)
        people = [name for name, photos in self.photos.items() if photos]  # a DMDNet list may name LQ alone
        half = max(1, len(people) // 2)
        self.stranger = {name: people[(i + half) % len(people)] for i, name in enumerate(people)}
        roots = [Path(opt[key]) for key in ('dataroot', 'dataroot_gt', 'dataroot_ref') if opt.get(key)]
        self.faces = Faces(opt, self.size, roots, (photo for photos in self.photos.values() for photo in photos))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict:
        entry = self.entries[index]
        refs = [self.faces(path) for path in entry.refs[: self.num_refs]]
        stranger = self.stranger.get(entry.identity, entry.identity)
        wrong = self.photos[stranger][: len(refs)] if stranger != entry.identity else []
        sample = {
            **pack_refs([face.img for face in refs], self.num_refs, self.size),
            **pack_refs([self.faces(path).img for path in wrong], self.num_refs, self.size, 'wrong'),
            'identity': entry.identity,
        }
        if entry.gt is None:
            return {**sample, 'lq': to_tensor(self.faces(entry.lq).img), 'lq_path': str(entry.lq)}
        gt = self.faces(entry.gt)
        slots = [real_pair(gt, ref) for ref in refs]
        if any(slot.known for slot in slots):
            sample |= pack_slots(slots, self.num_refs, self.size)
        return {**sample, **self._lq(entry, gt.img), 'gt': to_tensor(gt.img), 'gt_path': str(entry.gt)}

    def _lq(self, entry: Entry, gt) -> dict:
        if entry.lq is not None:
            return {'lq': to_tensor(self.faces(entry.lq).img), 'lq_path': str(entry.lq)}
        lq = self.degradation(gt, sample_rng(self.seed, zlib.crc32(entry.name.encode())))
        return {'lq': to_tensor(lq), 'lq_path': f'{entry.name}.png'}


def pack_refs(images: list, count: int, size: int, name: str = 'ref') -> dict[str, torch.Tensor]:
    """`<name>s`/`<name>_refs` (count, 3, S, S) in [-1, 1], zeros on padding, and `<name>_valid` (count,) bool."""
    refs = torch.zeros(count, 3, size, size)
    for i, img in enumerate(images):
        refs[i] = to_tensor(img)
    return {'refs' if name == 'ref' else f'{name}_refs': refs, f'{name}_valid': torch.arange(count) < len(images)}
