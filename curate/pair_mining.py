"""Choose which photos make pairs: the same person by embedding, sharp, and of all degrees of likeness."""

import re
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from refstar.data.collections.manifest import evenly
from refstar.data.face_region import EYES, eye_opening, face_oval, mouth_opening, mouth_width

PHOTOS = 40  # of a person that are compared with one another, at most
BLURRED = 0.3  # share of the collection's median sharpness below which a photo makes no pair
SIDE = 128  # at which sharpness is measured
NAME = 40  # letters of each part of an id


@dataclass(frozen=True)
class Mining:
    """What makes a pair, and how many pairs are taken."""

    per_person: int = 4  # at most
    similarity: tuple[float, float] = (0.3, 0.98)  # cosine: below it is another person, above the same photo twice
    limit: int | None = None  # pairs in all, at most, evenly taken


def sharpness(img: np.ndarray) -> float:
    """Return the deviation of the Laplacian inside the face, over that of the brightness; RGB uint8, (S, S, 3)."""
    small = cv2.resize(img, (SIDE, SIDE), interpolation=cv2.INTER_AREA if len(img) > SIDE else cv2.INTER_LINEAR)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    face = face_oval(SIDE) > 0
    return float(cv2.Laplacian(grey, cv2.CV_32F)[face].std() / max(grey[face].std(), 1.0))


def state(points: np.ndarray) -> np.ndarray:
    """Return pose (yaw, pitch) and expression (mouth open, wide, both eyes) by 68 landmarks; (6,), about 0 to 1."""
    eyes = [points[eye].mean(0) for eye in EYES]
    across = np.linalg.norm(eyes[1] - eyes[0])
    nose = (points[30] - (eyes[0] + eyes[1]) / 2) / max(across, 1e-6)
    return np.array(
        [*(2 * nose), mouth_opening(points), mouth_width(points), *(2 * eye_opening(points[eye]) for eye in EYES)]
    )


def pack(embedding: np.ndarray) -> str:
    """Encode a unit vector as text."""
    return b64encode(embedding.astype('<f2').tobytes()).decode()


def mine(photos: Sequence[Mapping], rules: Mining) -> list[dict]:
    """Choose pairs of photos, given by the records of `PhotoReader`.

    Returns:
        Records with `id`, `identity`, `gt` and `ref` (numbers of photos; the sharper one is the reference), and for
        meta.csv `gt_source`, `ref_source`, `similarity`, `spread`, `sharpness` of the blurrier photo.
    """
    usable = [i for i, photo in enumerate(photos) if not photo['problem']]
    median = np.median([photos[i]['sharpness'] for i in usable]) if usable else 0.0
    people = defaultdict(list)
    for i in usable:
        if photos[i]['sharpness'] >= BLURRED * median:
            people[photos[i]['identity']].append(i)
    pairs = [pair for own in people.values() for pair in _of_person(photos, evenly(own, PHOTOS), rules)]
    pairs = evenly(pairs, rules.limit)
    taken = set()
    for pair in pairs:
        pair['id'] = _name(pair, photos, taken)
    return pairs


def _of_person(photos: Sequence[Mapping], own: Sequence[int], rules: Mining) -> list[dict]:
    """Return pairs of one person, from the least to the greatest difference of pose and expression."""
    packed = {i: b64decode(photos[i]['embedding']) for i in own if photos[i]['embedding']}
    vectors = {i: np.frombuffer(data, '<f2').astype(np.float32) for i, data in packed.items()}
    states = {i: state(np.asarray(photos[i]['points'])) for i in own if len(photos[i]['points'] or ()) == 68}
    found = []
    for a, b in combinations(own, 2):
        similarity = min(1.0, float(vectors[a] @ vectors[b])) if a in vectors and b in vectors else None
        if similarity is not None and not rules.similarity[0] <= similarity <= rules.similarity[1]:
            continue
        spread = float(np.linalg.norm(states[a] - states[b])) if a in states and b in states else None
        gt, ref = sorted((a, b), key=lambda i: (photos[i]['sharpness'], i))
        found.append(
            {
                'gt': gt,
                'ref': ref,
                'identity': photos[gt]['identity'],
                'gt_source': photos[gt]['image'],
                'ref_source': photos[ref]['image'],
                'similarity': None if similarity is None else round(similarity, 3),
                'spread': None if spread is None else round(spread, 3),
                'sharpness': round(photos[gt]['sharpness'], 3),
            }
        )
    found.sort(key=lambda pair: -1.0 if pair['spread'] is None else pair['spread'])
    return evenly(found, rules.per_person)


def _name(pair: Mapping, photos: Sequence[Mapping], taken: set[str]) -> str:
    """Make an id that is a plain file name, from person and photos."""
    parts = [pair['identity'], *(photos[pair[key]]['stem'] for key in ('gt', 'ref'))]
    plain = '-'.join(re.sub(r'[^\w.]+', '_', part).strip('._')[-NAME:] or '_' for part in parts)
    name, number = plain, 1
    while name.lower() in taken:  # some disks know no capitals
        number += 1
        name = f'{plain}-{number}'
    taken.add(name.lower())
    return name
