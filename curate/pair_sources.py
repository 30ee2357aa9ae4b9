"""Pairs of photos to make masks of: of procedural people, or of a collection of photos.

A source has `settings`, what its pairs depend on, and `pairs(folder, run)`: records of the pairs for meta.csv, and a
function that returns the two clean faces (ground truth, reference) of such a record.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

from refstar.data.collections.listing import Missing
from refstar.data.collections.manifest import evenly, photos_by_identity
from refstar.data.face_region import EYES, eye_opening, mouth_opening, mouth_width
from refstar.data.images import ImageStore
from refstar.data.pairs import Face
from refstar.data.synthetic.render_photo import Photo
from refstar.data.synthetic_face_dataset import SyntheticFaceDataset
from refstar.utils.checkpoint import sha256
from refstar.utils.errors import RefStarError

from .collection import image_lists
from .photo_survey import read_photo

PHOTOS = 40  # of a person that are compared with one another, at most
BLURRED = 0.3  # share of the collection's median sharpness below which a photo makes no pair
NAME = 40  # letters of each part of an id
PAIRS_PER_PERSON = 4  # of procedural people; painting a person costs more than a photo of it


class SyntheticPairs:
    """A number of pairs of procedural people, which follow from `size` (in pixels) and `seed`."""

    def __init__(self, count: int, size: int, seed: int):
        self.count, self.size = count, size
        self.settings = {'size': size, 'synthetic': count, 'seed': seed}
        people = -(-count // PAIRS_PER_PERSON)
        self.people = SyntheticFaceDataset({'gt_size': size, 'identities': people, 'seed': seed})

    def pairs(self, folder: Path, run: Callable) -> tuple[list[dict], Callable]:
        """Return the pairs."""
        return [self._record(index) for index in range(self.count)], self.faces

    def _record(self, index: int) -> dict:
        identity, number = divmod(index, PAIRS_PER_PERSON)
        gt, ref = (f'{identity:05d}_{2 * number + i}' for i in (0, 1))
        sources = {'gt_source': f'synthetic/{gt}', 'ref_source': f'synthetic/{ref}'}
        return {'index': index, 'id': gt, 'identity': f'{identity:05d}', **sources}

    def photos(self, index: int) -> tuple[Photo, Photo]:
        """Return ground truth and reference of a pair, with their exact maps."""
        identity, number = divmod(index, PAIRS_PER_PERSON)
        return self.people.photo(identity, 2 * number), self.people.photo(identity, 2 * number + 1)

    def faces(self, pair: Mapping) -> tuple[Face, Face]:
        """Return the faces of a pair; colours are multiples of 1/255."""
        gt, ref = (np.rint(photo.image.clip(0, 1) * 255) / np.float32(255) for photo in self.photos(pair['index']))
        return Face(gt), Face(ref)


class PhotoPairs:
    """Pairs mined from a collection of photos.

    Args:
        photos: of `list_photos`.
        root: what the user named.
        networks: of `read_photo`.
        rules: of `mine`.
        size: side of the aligned photos in pixels.
        gt: folder of the photos of a csv or list, if not `root`.
    """

    def __init__(self, photos: Sequence, root: str, networks: Mapping, rules: Mapping, size: int, gt: str | None):
        self.photos, self.root, self.networks, self.rules, self.size, self.gt = photos, root, networks, rules, size, gt
        listed = '\n'.join(f'{identity}\t{path}' for _, identity, path in photos)
        files = ('detector', 'landmarks', 'weights')
        self.settings = {
            'size': size,
            'root': os.path.abspath(root),
            'list of photos': hashlib.sha256(listed.encode()).hexdigest(),
            **rules,
            **{key: sha256(value) if value and key in files else value for key, value in networks.items()},
        }

    def pairs(self, folder: Path, run: Callable) -> tuple[list[dict], Callable]:
        """Look at all photos by `run_stage`, and choose the pairs; print which photos are left out."""
        roots = Path(self.root), Path(self.gt or self.root)
        records = run(folder, self.photos, partial(read_photo, self.networks, self.size, folder / 'images', roots))
        problems = [record['problem'] for record in records if record['problem']]
        if problems:
            print(f'{len(problems)} of {len(records)} photos left out: {"; ".join(problems[:3])} ...', flush=True)
        pairs = mine(records, **self.rules)
        if not pairs:
            raise RefStarError(f'{self.root}: no two of the {len(records)} photos make a pair; see --similarity')
        return pairs, partial(photo_faces, self.size)


def photo_faces(size: int, pair: Mapping) -> tuple[Face, Face]:
    """Return the faces of a pair of `mine`, resized to `size` pixels."""
    store = ImageStore(size, resize=True)

    def read(photo: Mapping) -> Face:
        points = None if photo['points'] is None else np.asarray(photo['points'], np.float32)
        return Face(store(Path(photo['aligned'])), points)

    return read(pair['gt']), read(pair['ref'])


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


def state(points: np.ndarray) -> np.ndarray:
    """Return pose (yaw, pitch) and expression (mouth open, wide, both eyes) by 68 landmarks; (6,), about 0 to 1."""
    eyes = [points[eye].mean(0) for eye in EYES]
    across = np.linalg.norm(eyes[1] - eyes[0])
    nose = (points[30] - (eyes[0] + eyes[1]) / 2) / max(across, 1e-6)
    opening = [2 * eye_opening(points[eye]) for eye in EYES]
    return np.array([*(2 * nose), mouth_opening(points), mouth_width(points), *opening])


def mine(
    photos: Sequence[Mapping], per_person: int = 4, similarity: tuple = (0.3, 0.98), limit: int | None = None
) -> list[dict]:
    """Choose pairs of photos.

    Args:
        photos: records of `read_photo`.
        per_person: pairs of a person, at most.
        similarity: cosine of a pair: below it is another person, above the same photo twice.
        limit: pairs in all, at most, evenly taken.

    Returns:
        Records with `id`, `identity`, `gt` and `ref` (records of photos; the sharper one is the reference), and for
        meta.csv `gt_source`, `ref_source`, `similarity`, `spread`, `sharpness` of the blurrier photo.
    """
    usable = [photo for photo in photos if not photo['problem']]
    median = np.median([photo['sharpness'] for photo in usable]) if usable else 0.0
    people = defaultdict(list)
    for photo in usable:
        if photo['sharpness'] >= BLURRED * median:
            people[photo['identity']].append(photo)
    found = [pair for own in people.values() for pair in _of_person(evenly(own, PHOTOS), per_person, similarity)]
    found = evenly(found, limit)
    taken = set()
    for pair in found:
        pair['id'] = _name(pair, taken)
    return found


def _of_person(own: Sequence[Mapping], count: int, similarity: tuple[float, float]) -> list[dict]:
    """Return pairs of one person, from the least to the greatest difference of pose and expression."""
    vectors = [np.float32(photo['embedding']) for photo in own]
    states = [state(np.asarray(p['points'])) if len(p['points'] or ()) == 68 else None for p in own]
    found = []
    for a, b in combinations(range(len(own)), 2):
        alike = spread = None
        if len(vectors[a]) and len(vectors[b]):
            alike = min(1.0, float(vectors[a] @ vectors[b]))
            if not similarity[0] <= alike <= similarity[1]:
                continue
        if states[a] is not None and states[b] is not None:
            spread = float(np.linalg.norm(states[a] - states[b]))
        gt, ref = (own[i] for i in sorted((a, b), key=lambda i: (own[i]['sharpness'], i)))
        pair = {'gt': gt, 'ref': ref, 'identity': gt['identity'], 'gt_source': gt['image'], 'ref_source': ref['image']}
        measured = {'similarity': alike, 'spread': spread, 'sharpness': gt['sharpness']}
        found.append(pair | {key: None if value is None else round(value, 3) for key, value in measured.items()})
    found.sort(key=lambda pair: -1.0 if pair['spread'] is None else pair['spread'])
    return evenly(found, count)


def _name(pair: Mapping, taken: set[str]) -> str:
    """Make an id that is a plain file name, from person and photos."""
    parts = [pair['identity'], pair['gt']['stem'], pair['ref']['stem']]
    plain = '-'.join(re.sub(r'[^\w.]+', '_', part).strip('._')[-NAME:] or '_' for part in parts)
    name, number = plain, 1
    while name.lower() in taken:  # some disks know no capitals
        number += 1
        name = f'{plain}-{number}'
    taken.add(name.lower())
    return name
