"""Read references: find their faces, group them by person, leave out duplicates and blurred photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refstar.data.face_region import face_oval
from refstar.data.people_clusters import farthest_first, same_person
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import MAX_PIXELS, Picture, picture_of

from .alignment import FaceDetector, cut
from .faces import Person, Reference
from .identity_check import IdentityChecker
from .input_files import unique
from .reference_choice import mean_embedding, measure_attributes

BLURRED = 0.25  # least sharpness of a useful reference: less is a blur of 1.5 pixels of 256 and more
DUPLICATE = 0.98  # least correlation of two pictures of one photo
PREVIEW = 48  # pixels: side at which photos are compared


@dataclass
class ReferenceReader:
    """Read references at the network's size.

    Without a detector they are aligned faces; without an identity checker nobody is compared.
    """

    size: int
    detector: FaceDetector | None = None
    identity_checker: IdentityChecker | None = None
    max_pixels: int = MAX_PIXELS  # of a photo

    def read(self, sources: Sequence[object], name: str = 'references', one_person: bool = False) -> list[Person]:
        """Read photos (as of `picture_of`) of any number of people, the first of which gets the name.

        Photos of `one_person` are meant to show one: faces of others are left out. Else everybody is returned whom the
        identity network finds.

        Raises:
            RefStarError: no reference is left; says why.
        """
        faces, dropped = [], {}
        labels = [str(s) if isinstance(s, (str, Path)) else f'{name} {i + 1}' for i, s in enumerate(sources)]
        for source, label in zip(sources, unique(labels), strict=True):
            try:
                faces += [(label, face) for face in self.faces(source, label)]
            except RefStarError as error:
                dropped[label] = str(error).removeprefix(f'{label}: ')
        people = self.people(faces, name, dropped, one_person)
        if not any(person.references for person in people):
            reasons = '; '.join(f'{label}: {why}' for person in people for label, why in person.dropped.items())
            raise RefStarError(f"no usable photo of person '{name}'{': ' + reasons if reasons else ''}")
        return [person for person in people if person.references]

    def faces(self, source: object, label: str) -> list[Reference]:
        """Find every face of a photo (as of `picture_of`), the largest first; `label` is its name for people.

        Raises:
            RefStarError: it cannot be read, or shows no face.
        """
        picture = picture_of(source, self.max_pixels)
        if self.detector is None:
            crops = [(fit(picture, self.size, label), None)]
        else:
            crops = []
            for found in self.detector(picture.rgb):
                crop, _, points = cut(picture.rgb, found.points, self.size)
                crops.append((crop, points))
            if not crops:
                raise RefStarError(f'{label}: no face found')
        names = [label] if len(crops) == 1 else [f'{label} (face {i + 1} of {len(crops)})' for i in range(len(crops))]
        embeddings = [None] * len(crops)
        if self.identity_checker:
            embeddings = self.identity_checker.embed([crop for crop, _ in crops], False)
        return [
            Reference(called, crop, measure_attributes(crop, points), points, embedding)
            for called, (crop, points), embedding in zip(names, crops, embeddings, strict=True)
        ]

    def people(
        self, faces: list[tuple[str, Reference]], name: str, dropped: dict[str, str], one_person: bool = False
    ) -> list[Person]:
        """Group (photo, face) pairs by person, the person of most photos first; drop duplicates and blurred photos.

        Photos that were dropped before are listed under the first person; `name`, `one_person` as of :meth:`read`.
        """
        return [drop_useless(person) for person in self._group(faces, name, dropped, one_person)]

    def _group(
        self, faces: list[tuple[str, Reference]], name: str, dropped: dict[str, str], one_person: bool
    ) -> list[Person]:
        if not faces:
            return [Person(name, [], dropped)]
        if self.identity_checker is None:  # the largest face of every photo
            largest = {}
            for photo, face in faces:
                largest.setdefault(photo, face)
            dropped |= {f.name: 'not the largest face of its photo' for p, f in faces if f is not largest[p]}
            return [Person(name, list(largest.values()), dropped)]
        rows = np.stack([face.embedding for _, face in faces])
        groups = same_person(rows, 1 - self.identity_checker.clean_threshold)
        groups.sort(key=lambda group: -len({faces[i][0] for i in group}))
        people = [
            Person(name if number == 0 else f'{name} ({number + 1})', [faces[i][1] for i in group])
            for number, group in enumerate(groups)
        ]
        if one_person:
            mean = mean_embedding(people[0])
            for face in (face for other in people[1:] for face in other.references):
                cosine = face.embedding @ mean
                dropped[face.name] = f'another person than the other photos (similarity {cosine:.2f})'
            people = people[:1]
        people[0].dropped |= dropped
        return people


def drop_useless(person: Person) -> Person:
    """Leave out duplicates (the sharper one stays) and blurred photos; of blurred ones alone the sharpest stays."""
    kept: list[tuple[Reference, np.ndarray]] = []
    dropped = dict(person.dropped)
    for ref in sorted(person.references, key=lambda ref: -ref.attributes.sharpness):
        small, sharpness = preview(ref.crop), ref.attributes.sharpness
        same = next((other.name for other, seen in kept if float(seen @ small) > DUPLICATE), None)
        if same is not None:
            dropped[ref.name] = f'the same photo as {same}'
        elif sharpness < BLURRED and kept:
            dropped[ref.name] = f'blurred (sharpness {sharpness:.2f}, least {BLURRED})'
        else:
            kept.append((ref, small))
    used = {id(ref) for ref, _ in kept}
    return Person(person.name, [ref for ref in person.references if id(ref) in used], dropped)


def preview(crop: np.ndarray) -> np.ndarray:
    """Return the face small, grey, without mean, of length 1: two pictures of one photo have a product near 1."""
    small = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (PREVIEW, PREVIEW), interpolation=cv2.INTER_AREA)
    values = small[face_oval(PREVIEW) > 0].astype(np.float32)
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)


def fit(picture: Picture, size: int, label: str) -> np.ndarray:
    """Return an aligned face at the network's size, uint8 (size, size, 3).

    Raises:
        RefStarError: it is not square.
    """
    height, width = picture.rgb.shape[:2]
    if height != width:
        raise RefStarError(f'{label}: {width}x{height} is no aligned face, it is not square; give a face detector')
    if height == size:
        return picture.rgb
    return cv2.resize(picture.rgb, (size, size), interpolation=cv2.INTER_AREA if height > size else cv2.INTER_CUBIC)


def most_diverse(person: Person, count: int) -> Person:
    """Keep at most `count` references: the most different ones by embedding, without embeddings the sharpest."""
    refs = person.references
    if len(refs) <= count:
        return person
    if any(ref.embedding is None for ref in refs):
        kept = set(sorted(range(len(refs)), key=lambda i: -refs[i].attributes.sharpness)[:count])
    else:
        kept = set(farthest_first(np.stack([ref.embedding for ref in refs]), count))
    left = {ref.name: f'{count} others show more' for i, ref in enumerate(refs) if i not in kept}
    return Person(person.name, [refs[i] for i in sorted(kept)], person.dropped | left)
