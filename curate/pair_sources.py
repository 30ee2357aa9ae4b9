"""Pairs of photos to make masks of: of procedural people, or of a collection of photos."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refstar.data.collections.listing import Missing
from refstar.data.collections.manifest import photos_by_identity
from refstar.data.images import ImageStore
from refstar.data.pairs import Face
from refstar.data.synthetic.photo_match import Photo
from refstar.data.synthetic_face_dataset import SyntheticFaceDataset
from refstar.utils.checkpoint import sha256
from refstar.utils.errors import RefStarError

from .collection import image_lists
from .pair_mining import Mining, mine
from .photo_survey import Networks, PhotoReader

PAIRS_PER_PERSON = 4  # of procedural people; painting a person costs more than a photo of it


class Pair(NamedTuple):
    """Two clean photos of a person (colours are multiples of 1/255), with `id`, `identity`, and columns of meta.csv."""

    gt: Face
    ref: Face
    record: Mapping


class SyntheticPairs:
    """A number of pairs of procedural people, which follow from `size` (in pixels) and `seed`; a source of itself."""

    def __init__(self, count: int, size: int, seed: int):
        self.count, self.size, self.seed = count, size, seed
        people = -(-count // PAIRS_PER_PERSON)
        self.people = SyntheticFaceDataset({'gt_size': size, 'identities': people, 'seed': seed})

    def settings(self) -> dict:
        """Return what the pairs depend on."""
        return {'size': self.size, 'synthetic': self.count, 'seed': self.seed}

    def pairs(self, folder: Path, run: Callable) -> 'SyntheticPairs':
        """Return the pairs; see `PhotoSource`."""
        return self

    def __len__(self) -> int:
        return self.count

    def photos(self, index: int) -> tuple[str, Photo, Photo]:
        """Return identity, ground truth and reference of a pair, with their exact maps."""
        identity, number = divmod(index, PAIRS_PER_PERSON)
        return f'{identity:05d}', *(self.people.photo(identity, 2 * number + i) for i in (0, 1))

    def __getitem__(self, index: int) -> Pair:
        identity, *photos = self.photos(index)
        names = [f'{identity}_{2 * (index % PAIRS_PER_PERSON) + i}' for i in (0, 1)]
        record = {'id': names[0], 'identity': identity}
        record |= {'gt_source': f'synthetic/{names[0]}', 'ref_source': f'synthetic/{names[1]}'}
        return Pair(*(Face(np.rint(photo.image.clip(0, 1) * 255) / np.float32(255)) for photo in photos), record)


class PhotoPairs:
    """Pairs of aligned photos, by the records of `mine` and `PhotoReader`; photos are resized to `size` pixels."""

    def __init__(self, pairs: Sequence[Mapping], photos: Sequence[Mapping], size: int):
        self.pairs, self.photos = pairs, photos
        self.store = ImageStore(size, resize=True)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        record = dict(self.pairs[index])
        return Pair(*(self._face(self.photos[record.pop(part)]) for part in ('gt', 'ref')), record)

    def _face(self, photo: Mapping) -> Face:
        points = None if photo['points'] is None else np.asarray(photo['points'], np.float32)
        hidden = 1 - self.store.read_mask(Path(photo['face'])) if photo['face'] else None
        return Face(self.store(Path(photo['aligned'])), points, hidden)


@dataclass(frozen=True)
class PhotoSource:
    """A collection of photos, from which pairs are mined."""

    photos: Sequence[tuple[int, str, Path]]  # of `list_photos`
    root: str  # what the user named
    networks: Networks
    mining: Mining
    size: int  # side of the aligned photos in pixels
    gt: str | None = None  # folder of the photos of a csv or list, if not `root`

    def settings(self) -> dict:
        """Return what the pairs depend on."""
        network, weights, prepare = self.networks.embedder
        listed = '\n'.join(f'{identity}\t{path}' for _, identity, path in self.photos)
        files = {key: getattr(self.networks, key) for key in ('detector', 'landmarks', 'parsing')}
        return {
            'size': self.size,
            'root': os.path.abspath(self.root),
            'list of photos': hashlib.sha256(listed.encode()).hexdigest(),
            'pairs': self.mining.limit,
            'per_person': self.mining.per_person,
            'similarity': list(self.mining.similarity),
            'network': network,
            'prepare': prepare,
            **{key: sha256(file) if file else '' for key, file in {**files, 'weights': weights}.items()},
        }

    def pairs(self, folder: Path, run: Callable) -> PhotoPairs:
        """Look at all photos by `run_stage`, and choose the pairs; print which photos are left out."""
        reader = PhotoReader(self.networks, self.size, folder / 'images', [Path(self.root), Path(self.gt or self.root)])
        records = run(folder, self.photos, reader, title='look')
        problems = [record['problem'] for record in records if record['problem']]
        if problems:
            print(f'{len(problems)} of {len(records)} photos left out: {"; ".join(problems[:3])} ...', flush=True)
        pairs = mine(records, self.mining)
        if not pairs:
            raise RefStarError(f'{self.root}: no two of the {len(records)} photos make a pair; see --similarity')
        return PhotoPairs(pairs, records, self.size)


def list_photos(
    root: str, roots: Mapping, split_files: Sequence[str], split: str | None
) -> list[tuple[int, str, Path]]:
    """List the photos of people who have two or more, as `image_lists` finds them: (number, identity, file).

    Raises:
        RefStarError: the collection is malformed or of unknown people, `split` is not there or one of several must be
            chosen, or nobody has two photos.
    """
    lists = image_lists(root, roots, split_files)
    splits = list(dict.fromkeys(one.split for one in lists))
    if split not in splits and (split or len(splits) > 1):
        raise RefStarError(f'{root}: has the splits {", ".join(splits)}; choose one of them with --split')
    missing = Missing('drop')
    people: dict[str, list[Path]] = {}
    for one in lists:
        if split and one.split != split:
            continue
        if one.unknown:
            raise RefStarError(f'{root}: who is on these photos? Group them first: refstar data split')
        for identity, photos in photos_by_identity(one.read(missing)).items():
            people.setdefault(identity, []).extend(photos)
    missing.settle(root)
    listed = [(identity, photo) for identity, own in people.items() for photo in dict.fromkeys(own) if len(own) > 1]
    if not listed:
        raise RefStarError(f'{root}: nobody has two photos')
    return [(number, identity, photo.absolute()) for number, (identity, photo) in enumerate(listed)]
