"""Choose which photos make pairs: the same person by embedding, sharp, and of all degrees of likeness."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

import cv2
import numpy as np

from refstar.data.collections.manifest import evenly
from refstar.data.face_region import EYES, eye_opening, face_oval, mouth_opening, mouth_width

PHOTOS = 40  # of a person that are compared with one another, at most
BLURRED = 0.3  # share of the collection's median sharpness below which a photo makes no pair
SIDE = 128  # at which sharpness is measured
NAME = 40  # letters of each part of an id


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
