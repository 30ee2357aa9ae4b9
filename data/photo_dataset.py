"""What datasets of real photos share: options, opening photos, augmentation, and the tensors of a sample."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from pydantic import Field
from torch.utils.data import Dataset

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.option_block import Count, DatasetOptions, Expected, FilePath, Natural, OptionBlock, Share

from .degradation import Degradation
from .face_region import Landmarks
from .images import ImageStore
from .pairs import Face, PairedReference, self_pair
from .photometric import occlude, relight

Strength = Annotated[float, Field(ge=0, le=2), Expected('a number from 0 to 2')]
PRESET_OR_RANGES = 'preset name, or a mapping with preset and/or ranges'
DegradationOption = Annotated[str | dict[str, Any], Expected('a preset name or a mapping')]


class PhotoOptions(DatasetOptions):
    """Keys of every dataset of photos."""

    gt_size: Annotated[int, Field(ge=8), Expected('a whole number from 8')] = Field(description='image side in pixels')
    resize: bool = Field(False, description='bring images of another size to gt_size instead of refusing them')
    cache: bool = Field(False, description='decode every image once and keep it in memory (8-bit)')
    landmarks: FilePath | None = Field(
        None, description='npz of landmarks per photo (see benchmarks/landmarks.py); real pairs then have a flow'
    )
    seed: Natural = Field(0, description='every random draw follows from this number and the index')


class AugmentationOptions(OptionBlock):
    """Keys of datasets for training."""

    draws: Count = Field(100, description='different samples made of each photo before they repeat')
    degradation: DegradationOption = Field('ffhq_ref_train', description=PRESET_OR_RANGES)
    use_hflip: bool = Field(True, description='mirror the sample, references included, half of the time')
    ref_drop_prob: Share = Field(0.1, description='share of samples without any reference')
    wrong_ref_prob: Share = Field(0.1, description='share of references of another person, with nothing to select')
    self_pair_prob: Share = Field(0.5, description='share of references made from the GT by a warp and new light')
    ref_jitter: Share = Field(0.5, description='size of colour and affine changes of real references: 0 none, 1 full')
    ref_small_prob: Share = Field(0.0, description='share of real references that get no more detail than small photos')
    warp_strength: Strength = Field(1.0, description='size of the warp of self-pairs; 1 moves up to 8 % of the side')
    light_strength: Strength = Field(1.0, description='size of the light change of self-pairs: 0 none, 1 full')
    occlusion_prob: Share = Field(0.2, description='share of self-pairs with a covered reference; the GT half as often')
    mirror_prob: Share = Field(0.0, description='share of self-pairs with a mirrored reference')


class PhotoDataset(Dataset):
    """Base of the datasets of real photos: options, image size, seed, degradation, and how photos are opened."""

    Options = PhotoOptions

    def __init__(self, opt: Mapping[str, Any]):
        super().__init__()
        self.opt = opt
        self.options = self.Options.read(opt, 'dataset')
        self.size, self.seed, self.scale = self.options.gt_size, self.options.seed, self.options.scale or 1
        self.lq_size = lq_size(self.size, self.scale)
        self.degradation = Degradation.from_option(self.options.degradation, self.size, self.scale)

    def open_photos(self, photos: Iterable[Path]) -> None:
        """Prepare the reading of photos; decode all of them now where `cache` is set."""
        self.store = ImageStore(self.size, self.options.resize, photos if self.options.cache else ())
        self.lq_store = self.store if self.scale == 1 else ImageStore(self.lq_size, self.options.resize)
        roots = [Path(self.opt[key]) for key in ('dataroot', 'dataroot_gt', 'dataroot_ref') if self.opt.get(key)]
        self.landmarks = Landmarks(self.options.landmarks, roots) if self.options.landmarks else None

    def face(self, photo: Path, mirror: bool = False) -> Face:
        """Read a photo with its landmarks, mirrored if wanted."""
        face = Face(self.store(photo), self.landmarks(photo) if self.landmarks else None)
        return face.mirrored() if mirror else face


class TrainingPhotoDataset(PhotoDataset):
    """Base of the datasets for training: a list of photos, each of which gives `draws` different samples.

    Subclasses set `photo_count` and define `sample(index, rng)`.
    Everything random in a sample follows from `seed` and its index, whatever the number of workers. (BasicSR's
    `dataset_enlarge_ratio` would repeat indices.)
    """

    photo_count: int

    def __len__(self) -> int:
        return self.photo_count * self.options.draws

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.sample(index, sample_rng(self.seed, index))

    def require_two_people(self, count: int) -> None:
        """Raise RefStarError if another person's photo is wanted and there is only one person."""
        if self.options.wrong_ref_prob > 0 and count < 2:
            raise RefStarError('dataset: wrong_ref_prob needs two people; there is one. Set it to 0')

    def occlude_gt(self, gt: Face, rng: np.random.Generator) -> Face:
        """Sometimes paint something over the face in the GT (and so in the LQ): not to be looked for elsewhere."""
        if rng.random() >= self.options.occlusion_prob / 2:
            return gt
        img, hidden = occlude(gt.img, rng)
        return replace(gt, img=img, hidden=hidden)

    def jitter(self, face: Face, rng: np.random.Generator) -> Face:
        """Change a reference's light, turn, scale and shift it slightly; its landmarks move along."""
        strength = self.options.ref_jitter
        if strength == 0:
            return face
        middle = (face.size - 1) / 2
        angle, scale, *shift = rng.uniform(-1, 1, 4) * (4, 0.05, 0.05, 0.05) * strength
        matrix = cv2.getRotationMatrix2D((middle, middle), angle, 1 + scale)
        matrix[:, 2] += np.array(shift) * face.size
        frame = (face.size, face.size)
        img = cv2.warpAffine(face.img, matrix, frame, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        points = face.points
        if points is not None:
            points = (points * face.size - 0.5) @ matrix[:, :2].T + matrix[:, 2]
            points = ((points + 0.5) / face.size).astype(np.float32)
        return Face(relight(img.clip(0, 1), rng, strength), points)

    def shrink(self, img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sometimes leave an image no more detail than a smaller photo has."""
        if self.options.ref_small_prob == 0 or rng.random() >= self.options.ref_small_prob:
            return img
        size = img.shape[0]
        side = round(size / rng.uniform(1, 4))
        small = cv2.resize(img, (side, side), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)

    def self_pair(self, gt: Face, rng: np.random.Generator) -> PairedReference:
        """Make a reference from the GT itself."""
        o = self.options
        return self_pair(gt, rng, o.warp_strength, o.light_strength, o.occlusion_prob, o.mirror_prob)


def lq_size(size: int, scale: int | None) -> int:
    """Return the side of the LQ in pixels for a GT of side `size`; RefStarError if it is no whole number."""
    if size % (scale or 1):
        raise RefStarError(f'dataset: gt_size = {size} is no multiple of scale = {scale}, so the LQ has no whole size')
    return size // (scale or 1)


def sample_rng(seed: int, index: int) -> np.random.Generator:
    """Return the source of all draws of one sample: it depends on nothing but these two numbers."""
    return np.random.default_rng((seed, index))


def pack_images(images: Sequence[np.ndarray], count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (count, 3, S, S) in [-1, 1], zeros on padding, and which are valid, (count,) bool."""
    refs = torch.zeros(count, 3, size, size)
    for i, img in enumerate(images):
        refs[i] = to_tensor(img)
    return refs, torch.arange(count) < len(images)


def pack_references(references: Sequence[PairedReference], count: int, size: int) -> dict[str, torch.Tensor]:
    """Return the tensors of `count` references: the given ones first, then padding (all zeros, not valid).

    Returns:
        refs (count, 3, S, S) RGB in [-1, 1], ref_valid (count,) bool, ref_mask and gt_mask (count, 1, S, S) 0/1,
        mask_known (count,) bool, flow (count, 2, S, S), flow_valid (count, 1, S, S) 0/1.
    """
    refs, valid = pack_images([pair.ref for pair in references], count, size)
    sample = {key: torch.zeros(count, 1, size, size) for key in ('ref_mask', 'gt_mask', 'flow_valid')}
    sample['flow'] = torch.zeros(count, 2, size, size)
    known = torch.zeros(count, dtype=torch.bool)
    for i, pair in enumerate(references):
        known[i] = pair.known
        sample['flow'][i] = torch.from_numpy(pair.flow).permute(2, 0, 1)
        for key in ('ref_mask', 'gt_mask', 'flow_valid'):
            sample[key][i, 0] = torch.from_numpy(getattr(pair, key))
    return {'refs': refs, 'ref_valid': valid, 'mask_known': known, **sample}
