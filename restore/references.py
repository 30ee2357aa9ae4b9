"""The people whose photos a user gives: faces found, told apart, doubles and blurred ones left out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from refstar.data.face_region import face_oval
from refstar.data.people_clusters import farthest_first, same_person
from refstar.reference_bank import ReferenceBank
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import MAX_PIXELS, Picture, picture_of

from .alignment import cut
from .detection import FaceDetector
from .face_attributes import Traits, traits_of
from .identity_check import Guard
from .unique_names import unique

BANK_SUFFIX = '.refbank'
BLURRED = 0.25  # sharpness below which a reference has nothing to give: a blur of 1.5 pixels of 256 and more
DOUBLE = 0.98  # correlation of two pictures of one photo
PREVIEW = 48  # side at which photos are compared


@dataclass
class Reference:
    """A clean face of a person.

    Args:
        name: its file, for people.
        crop: aligned, uint8 (S, S, 3), RGB.
        traits: what was measured of it.
        points: five points in pixels of the crop, (5, 2); None: not known.
        embedding: unit vector of the guard's network, None without a guard.
        mask: selection by hand, (S, S) in [0, 1]; None: the network selects.
        encoded: what the network needs of it, one slot; made when first used.
    """

    name: str
    crop: np.ndarray
    traits: Traits
    points: np.ndarray | None = None
    embedding: np.ndarray | None = None
    mask: np.ndarray | None = None
    encoded: ReferenceBank | None = None


@dataclass
class Person:
    """Photos of one person.

    Args:
        name: for people.
        references: usable ones.
        dropped: what was left out, and why.
    """

    name: str
    references: list[Reference]
    dropped: dict[str, str] = field(default_factory=dict)


class ReferenceReader:
    """Reads references.

    Args:
        size: side of the network's images.
        detector: finds the faces; None: references are aligned faces.
        guard: tells people apart; None: nobody is checked.
        max_pixels: of a photo.
    """

    def __init__(
        self,
        size: int,
        detector: FaceDetector | None = None,
        guard: Guard | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.size, self.detector, self.guard, self.max_pixels = size, detector, guard, max_pixels

    def read(self, sources: Sequence[object], name: str = 'references', one_person: bool = False) -> list[Person]:
        """People from photos of any number of them.

        Args:
            sources: paths, Pillow images, or arrays uint8 (H, W, 3) RGB.
            name: of the person, for reports.
            one_person: they are meant to show one person; other people's faces are left out. Else every person that
                the guard tells apart is returned.

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
            raise RefStarError(f'no usable reference of {name}{": " + reasons if reasons else ""}')
        return [person for person in people if person.references]

    def faces(self, source: object, label: str) -> list[Reference]:
        """Every face of a photo, the largest first.

        Args:
            source: a path, a picture, a Pillow image or an array uint8 (H, W, 3) RGB.
            label: name of the photo, for people.

        Raises:
            RefStarError: it cannot be read, or shows no face.
        """
        picture = picture_of(source, self.max_pixels)
        if self.detector is None:
            crops = [(fit(picture, self.size, label), None)]
        else:
            found = self.detector(picture.rgb)
            if not found:
                raise RefStarError(f'{label}: no face found')
            crops = [self._cut(picture, face.points) for face in found]
        names = [label] if len(crops) == 1 else [f'{label} (face {i + 1} of {len(crops)})' for i in range(len(crops))]
        embeddings = self.guard.embed([crop for crop, _ in crops], False) if self.guard else [None] * len(crops)
        return [
            Reference(called, crop, traits_of(crop, points), points, embedding)
            for called, (crop, points), embedding in zip(names, crops, embeddings, strict=True)
        ]

    def people(
        self, faces: list[tuple[str, Reference]], name: str, dropped: dict[str, str], one_person: bool = False
    ) -> list[Person]:
        """People of (photo, face) pairs, the one of most photos first; doubles and blurred photos are left out.

        Args:
            faces: of :meth:`faces`.
            name, one_person: as of :meth:`read`.
            dropped: photos that were left out before, and why; told of the first person.
        """
        return [drop_useless(person) for person in self._tell_apart(faces, name, dropped, one_person)]

    def _cut(self, picture: Picture, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        crop, matrix = cut(picture.rgb, points, self.size)
        return crop, points @ matrix[:, :2].T + matrix[:, 2]

    def _tell_apart(
        self, faces: list[tuple[str, Reference]], name: str, dropped: dict[str, str], one_person: bool
    ) -> list[Person]:
        """Groups faces by person; the person of most photos first."""
        if not faces:
            return [Person(name, [], dropped)]
        if self.guard is None:  # the largest face of every photo
            largest = {}
            for photo, face in faces:
                largest.setdefault(photo, face)
            dropped |= {f.name: 'not the largest face of its photo' for p, f in faces if f is not largest[p]}
            return [Person(name, list(largest.values()), dropped)]
        rows = np.stack([face.embedding for _, face in faces])
        groups = same_person(rows, 1 - self.guard.clean_threshold)
        groups.sort(key=lambda group: -len({faces[i][0] for i in group}))
        people = [
            Person(name if number == 0 else f'{name} ({number + 1})', [faces[i][1] for i in group])
            for number, group in enumerate(groups)
        ]
        if one_person:
            own = centre(people[0])
            for other in people[1:]:
                for face in other.references:
                    dropped[face.name] = f'another person than the other photos (similarity {face.embedding @ own:.2f})'
            people = people[:1]
        people[0].dropped |= dropped
        return people


def centre(person: Person) -> np.ndarray:
    """Mean direction of a person's embeddings, (d,), of length 1."""
    mean = np.sum([ref.embedding for ref in person.references], axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def drop_useless(person: Person) -> Person:
    """Leaves out doubles (the sharper one stays) and blurred photos; of blurred ones alone the sharpest stays."""
    order = sorted(person.references, key=lambda ref: -ref.traits.sharpness)
    kept: list[tuple[Reference, np.ndarray]] = []
    dropped = dict(person.dropped)
    for ref in order:
        small = preview(ref.crop)
        double = next((other.name for other, seen in kept if float(seen @ small) > DOUBLE), None)
        if double is not None:
            dropped[ref.name] = f'the same photo as {double}'
        elif ref.traits.sharpness < BLURRED and kept:
            dropped[ref.name] = f'blurred (sharpness {ref.traits.sharpness:.2f}, least {BLURRED})'
        else:
            kept.append((ref, small))
    names = {id(ref) for ref, _ in kept}
    return Person(person.name, [ref for ref in person.references if id(ref) in names], dropped)


def preview(crop: np.ndarray) -> np.ndarray:
    """The face small and grey, without mean, of length 1: two of one photo have a product near 1."""
    small = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (PREVIEW, PREVIEW), interpolation=cv2.INTER_AREA)
    values = small[face_oval(PREVIEW) > 0].astype(np.float32)
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)


def fit(picture: Picture, size: int, label: str) -> np.ndarray:
    """An aligned face at the network's size, uint8 (size, size, 3).

    Raises:
        RefStarError: it is not square.
    """
    height, width = picture.rgb.shape[:2]
    if height != width:
        raise RefStarError(f'{label}: {width}x{height} is no aligned face, it is not square; give a face detector')
    if height == size:
        return picture.rgb
    return cv2.resize(picture.rgb, (size, size), interpolation=cv2.INTER_AREA if height > size else cv2.INTER_CUBIC)


def most_telling(person: Person, count: int) -> Person:
    """At most `count` references: with embeddings those that show the most of the person, else the sharpest."""
    refs = person.references
    if len(refs) <= count:
        return person
    if any(ref.embedding is None for ref in refs):
        order = sorted(range(len(refs)), key=lambda i: -refs[i].traits.sharpness)[:count]
    else:
        order = farthest_first(np.stack([ref.embedding for ref in refs]), count)
    kept = set(order)
    more = {ref.name: f'{count} others show more' for i, ref in enumerate(refs) if i not in kept}
    return Person(person.name, [refs[i] for i in sorted(kept)], person.dropped | more)
