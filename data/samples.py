"""From faces and pairs to the sample dictionaries that models read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from refstar.utils.image_files import to_tensor

from .dataset_settings import choice, number, switch, whole
from .degradation import Degradation
from .device_degradation import pack_draw
from .images import ImageStore
from .landmarks import Landmarks, move_points
from .pairs import Face, Slot, self_pair
from .photometric import occlude, relight

FACE_KEYS = {
    'gt_size': 'side of all images in pixels',
    'resize': 'bring images of another size to gt_size instead of refusing them',
    'cache': 'decode every image once and keep it in memory (8-bit)',
    'landmarks': 'npz or csv of landmarks per photo (benchmarks/landmarks.py makes one); real pairs then have a flow',
    'seed': 'every random draw follows from this number and the index',
}

AUGMENTATION_KEYS = {
    'use_hflip': 'mirror the sample, references included, half of the time',
    'ref_drop_prob': 'share of samples without any reference',
    'wrong_ref_prob': "share of references that are another person's, with nothing to select",
    'self_pair_prob': 'share of references made from the GT itself by a warp and new light, with exact flow',
    'ref_jitter': 'size of the colour and affine changes of real references: 0 none, 1 full',
    'warp_strength': 'size of the warp of self-pairs: 1 moves the middle of the face by up to 8 % of the side',
    'light_strength': 'size of the colour and light change of self-pairs: 0 none, 1 full',
    'occlusion_prob': 'share of self-pairs with something painted over the reference; half as often over the GT',
    'mirror_prob': 'share of self-pairs with a mirrored reference',
    'degrade_on': 'loader (default): by the data loader, on the CPU; model: a whole batch, where the model is',
}


class PhotoDataset(Dataset):
    """What all data sets of real photos have: their options, image size, seed and degradation.

    Args:
        opt: dataset options.
        degradation: preset where the options name none.
    """

    def __init__(self, opt: dict, degradation: str):
        super().__init__()
        self.opt = opt
        self.size = whole(opt, 'gt_size', low=8)
        self.seed = whole(opt, 'seed', 0)
        self.degradation = Degradation.from_option(opt.get('degradation', degradation), self.size)
        self.degrade_on = choice(opt, 'degrade_on', ('loader', 'model'))

    def degraded(
        self, img: np.ndarray, rng: np.random.Generator, degradation: Degradation | None = None, key: str = 'lq'
    ) -> dict[str, torch.Tensor]:
        """The LQ of a GT under its key; or, under `<key>_draw`, what the model needs to make it.

        Args:
            img: (S, S, 3) in [0, 1].
            rng: source of every draw.
            degradation: another one than that of the options.
            key: of the sample.
        """
        degradation = degradation or self.degradation
        if self.degrade_on == 'model':
            return {f'{key}_draw': pack_draw(degradation.draw(rng, img.shape[:2], field=False))}
        return {key: to_tensor(degradation(img, rng))}


class Faces:
    """Opens photos with their landmarks.

    Args:
        opt: dataset options.
        size: side of the images in pixels.
        roots: folders to which the names of the landmarks are relative.
        photos: all photos, decoded at once where `cache` is set.
    """

    def __init__(self, opt: Mapping, size: int, roots: Sequence[Path], photos: Iterable[Path]):
        self.store = ImageStore(size, switch(opt, 'resize'), photos if switch(opt, 'cache') else ())
        self.landmarks = Landmarks(opt['landmarks'], list(roots)) if opt.get('landmarks') else None

    def __call__(self, photo: Path, mirror: bool = False) -> Face:
        """One photo, mirrored if wanted."""
        face = Face(self.store(photo), self.landmarks(photo) if self.landmarks else None)
        return face.mirrored() if mirror else face


class Augmentation:
    """The random changes of training samples, from dataset options (`AUGMENTATION_KEYS`)."""

    def __init__(self, opt: Mapping):
        self.hflip = switch(opt, 'use_hflip', True)
        self.drop_prob = number(opt, 'ref_drop_prob', 0.1)
        self.wrong_prob = number(opt, 'wrong_ref_prob', 0.1)
        self.self_prob = number(opt, 'self_pair_prob', 0.5)
        self.jitter_strength = number(opt, 'ref_jitter', 0.5)
        self.warp_strength = number(opt, 'warp_strength', 1.0, high=2)
        self.light_strength = number(opt, 'light_strength', 1.0, high=2)
        self.occlusion_prob = number(opt, 'occlusion_prob', 0.2)
        self.mirror_prob = number(opt, 'mirror_prob', 0.0)

    def occlude_gt(self, gt: Face, rng: np.random.Generator) -> Face:
        """Now and then something lies before the face in the GT (and so in the LQ): not to be looked for elsewhere."""
        if rng.random() >= self.occlusion_prob / 2:
            return gt
        img, hidden = occlude(gt.img, rng)
        return replace(gt, img=img, hidden=hidden)

    def jitter(self, face: Face, rng: np.random.Generator) -> Face:
        """A reference in other light, slightly turned, scaled and shifted; its landmarks move along."""
        if self.jitter_strength == 0:
            return face
        middle = (face.size - 1) / 2
        angle, scale, *shift = rng.uniform(-1, 1, 4) * (4, 0.05, 0.05, 0.05) * self.jitter_strength
        matrix = cv2.getRotationMatrix2D((middle, middle), angle, 1 + scale)
        matrix[:, 2] += np.array(shift) * face.size
        frame = (face.size, face.size)
        img = cv2.warpAffine(face.img, matrix, frame, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        points = None if face.points is None else move_points(face.points, matrix, face.size)
        return Face(self.light(img.clip(0, 1), rng), points)

    def light(self, img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A reference in other light, (S, S, 3) in [0, 1]."""
        return relight(img, rng, self.jitter_strength) if self.jitter_strength else img

    def self_pair(self, gt: Face, rng: np.random.Generator) -> Slot:
        """A reference made from the GT itself."""
        return self_pair(gt, rng, self.warp_strength, self.light_strength, self.occlusion_prob, self.mirror_prob)


def sample_rng(seed: int, index: int) -> np.random.Generator:
    """The source of all draws of one sample: it depends on nothing but these two numbers."""
    return np.random.default_rng((seed, index))


def pack_slots(slots: Sequence[Slot], count: int, size: int) -> dict[str, torch.Tensor]:
    """Tensors of `count` reference slots: the given ones first, then padding (all zeros, not valid).

    Returns:
        refs (count, 3, S, S) RGB in [-1, 1], ref_valid (count,) bool, ref_mask and gt_mask (count, 1, S, S) 0/1,
        mask_known (count,) bool, flow (count, 2, S, S), flow_valid (count, 1, S, S) 0/1.
    """
    sample = {
        'refs': torch.zeros(count, 3, size, size),
        'ref_valid': torch.zeros(count, dtype=torch.bool),
        'ref_mask': torch.zeros(count, 1, size, size),
        'gt_mask': torch.zeros(count, 1, size, size),
        'mask_known': torch.zeros(count, dtype=torch.bool),
        'flow': torch.zeros(count, 2, size, size),
        'flow_valid': torch.zeros(count, 1, size, size),
    }
    for i, slot in enumerate(slots):
        sample['refs'][i] = to_tensor(slot.ref)
        sample['ref_valid'][i] = True
        sample['mask_known'][i] = slot.known
        sample['flow'][i] = torch.from_numpy(slot.flow).permute(2, 0, 1)
        for key in ('ref_mask', 'gt_mask', 'flow_valid'):
            sample[key][i, 0] = torch.from_numpy(getattr(slot, key))
    return sample
