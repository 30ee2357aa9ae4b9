"""Where the pairs of photos come from: procedural people, or aligned photos on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refstar.data.images import ImageStore
from refstar.data.pairs import Face
from refstar.data.synthetic.photo_match import Photo
from refstar.data.synthetic_face_dataset import SyntheticFaceDataset

PAIRS_PER_PERSON = 4  # of procedural people; painting a person costs more than a photo of it


@dataclass(frozen=True)
class Pair:
    """Two clean photos of a person, and what is known of them.

    Args:
        gt, ref: the photos; their colours are multiples of 1/255.
        record: `id`, `identity`, and columns of `meta.csv`.
    """

    gt: Face
    ref: Face
    record: Mapping


class SyntheticPairs:
    """Pairs of procedural people: the same ones for the same seed and size.

    Args:
        count: number of pairs.
        size: side in pixels.
        seed: of the population.
    """

    def __init__(self, count: int, size: int, seed: int):
        self.count = count
        people = -(-count // PAIRS_PER_PERSON)
        self.people = SyntheticFaceDataset({'gt_size': size, 'identities': people, 'seed': seed})

    def __len__(self) -> int:
        return self.count

    def photos(self, index: int) -> tuple[str, Photo, Photo]:
        """Identity, ground truth and reference of a pair, with their exact maps."""
        identity, number = divmod(index, PAIRS_PER_PERSON)
        return f'{identity:05d}', *(self.people.photo(identity, 2 * number + i) for i in (0, 1))

    def __getitem__(self, index: int) -> Pair:
        identity, *photos = self.photos(index)
        number = 2 * (index % PAIRS_PER_PERSON)
        sources = [f'synthetic/{identity}_{number + i}' for i in (0, 1)]
        record = {'id': f'{identity}_{number}', 'identity': identity, 'gt_source': sources[0], 'ref_source': sources[1]}
        gt, ref = (Face(np.rint(photo.image.clip(0, 1) * 255) / np.float32(255)) for photo in photos)
        return Pair(gt, ref, record)


class PhotoPairs:
    """Pairs of aligned photos.

    Args:
        pairs: records of `mining.mine`.
        photos: records of the photos: `aligned` (file), `points`, `face` (file of a mask, or '').
        size: side in pixels; photos of another one are brought to it.
    """

    def __init__(self, pairs: Sequence[Mapping], photos: Sequence[Mapping], size: int):
        self.pairs, self.photos = pairs, photos
        self.store = ImageStore(size, resize=True)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        pair = self.pairs[index]
        gt, ref = (self._face(self.photos[pair[part]]) for part in ('gt', 'ref'))
        return Pair(gt, ref, {key: value for key, value in pair.items() if key not in ('gt', 'ref')})

    def _face(self, photo: Mapping) -> Face:
        points = None if photo['points'] is None else np.asarray(photo['points'], np.float32)
        hidden = 1 - self.store.read_mask(Path(photo['face'])) if photo['face'] else None
        return Face(self.store(Path(photo['aligned'])), points, hidden)
