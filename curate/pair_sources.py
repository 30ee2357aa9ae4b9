"""Pairs of photos to make masks of: of procedural people, or of a collection of photos."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """Pairs of procedural people: the same ones for the same seed and size. A source of pairs, and the pairs.

    Args:
        count: number of pairs.
        size: side in pixels.
        seed: of the population.
    """

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
        number = 2 * (index % PAIRS_PER_PERSON)
        sources = [f'synthetic/{identity}_{number + i}' for i in (0, 1)]
        record = {'id': f'{identity}_{number}', 'identity': identity, 'gt_source': sources[0], 'ref_source': sources[1]}
        gt, ref = (Face(np.rint(photo.image.clip(0, 1) * 255) / np.float32(255)) for photo in photos)
        return Pair(gt, ref, record)


class PhotoPairs:
    """Pairs of aligned photos.

    Args:
        pairs: records of `mine`.
        photos: records of the photos: `aligned` (file), `points`, `face` (file of a mask, or '').
        size: side in pixels; photos of another size are resized.
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


class PhotoSource:
    """A collection of photos, from which pairs are mined.

    Args:
        photos: (number, identity, file), of `list_photos`.
        root: what the user named.
        networks: to look at the photos with.
        mining: what makes a pair.
        limit: pairs in all, at most.
        size: side of the aligned photos in pixels.
        gt: folder of the photos of a csv or list, if not `root`.
    """

    def __init__(
        self,
        photos: Sequence[tuple[int, str, Path]],
        root: str,
        networks: Networks,
        mining: Mining,
        limit: int | None,
        size: int,
        gt: str | None = None,
    ):
        self.photos, self.root, self.networks, self.mining = photos, root, networks, mining
        self.limit, self.size, self.gt = limit, size, gt

    def settings(self) -> dict:
        """Return what the pairs depend on."""
        network, weights, prepare = self.networks.embedder
        listed = '\n'.join(f'{identity}\t{path}' for _, identity, path in self.photos)
        files = {key: getattr(self.networks, key) for key in ('detector', 'landmarks', 'parsing')}
        return {
            'size': self.size,
            'root': os.path.abspath(self.root),
            'list of photos': hashlib.sha256(listed.encode()).hexdigest(),
            'pairs': self.limit,
            'per_person': self.mining.per_person,
            'similarity': list(self.mining.similarity),
            'network': network,
            'prepare': prepare,
            **{key: sha256(file) if file else '' for key, file in {**files, 'weights': weights}.items()},
        }

    def pairs(self, folder: Path, run: Callable) -> PhotoPairs:
        """Look at all photos, and choose the pairs; print which photos are left out.

        Args:
            folder: where records and aligned photos are kept.
            run: `run_stage`.

        Raises:
            RefStarError: no two photos make a pair.
        """
        reader = PhotoReader(self.networks, self.size, folder / 'images', [Path(self.root), Path(self.gt or self.root)])
        records = run(folder, self.photos, reader, title='look')
        problems = [record['problem'] for record in records if record['problem']]
        if problems:
            print(f'{len(problems)} of {len(records)} photos left out: {"; ".join(problems[:3])} ...', flush=True)
        pairs = mine(records, self.mining, self.limit)
        if not pairs:
            raise RefStarError(
                f'{self.root}: no two photos make a pair (of {len(records)}, {len(problems)} were left out'
                + (f', the first: {problems[0]})' if problems else '); see --similarity')
            )
        return PhotoPairs(pairs, records, self.size)


def list_photos(
    root: str, roots: Mapping, split_files: Sequence[str], split: str | None
) -> list[tuple[int, str, Path]]:
    """List the photos of people who have two or more: (number, identity, file).

    Args:
        root, roots, split_files: of `image_lists`.
        split: which of several splits to take.

    Raises:
        RefStarError: the collection is malformed or of unknown people, `split` is not there, or nobody has two photos.
    """
    lists = image_lists(root, roots, split_files)
    splits = list(dict.fromkeys(one.split for one in lists))
    if split and split not in splits:
        raise RefStarError(f'--split {split}: {root} has {", ".join(splits)}')
    if not split and len(splits) > 1:
        raise RefStarError(f'{root}: has the splits {", ".join(splits)}; choose with --split')
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
