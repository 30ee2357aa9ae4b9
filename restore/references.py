"""Read faces and references from photos, group references by person, and choose the most useful ones for a face."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from refstar.data.face_region import face_oval
from refstar.data.people_clusters import same_person
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import MAX_PIXELS, Picture, picture_of
from refstar.utils.stopwatch import timed

from .alignment import FaceDetector, FoundFace, cut, most_central, side_in_photo
from .faces import (
    AlignedFace,
    FaceAttributes,
    IdentityVerdict,
    Person,
    Reference,
    measure_tint,
)
from .identity_check import IdentityChecker
from .input_files import unique

BLURRED = 0.25  # least sharpness of a useful reference: less is a blur of 1.5 pixels of 256 and more
DUPLICATE = 0.98  # least correlation of two pictures of one photo
PREVIEW = 48  # pixels: side at which photos are compared


class FaceReader:
    """Find, cut out and measure the faces of photos, at the network's size.

    Args:
        size: side of the crops in pixels.
        detector: None: pictures are aligned faces.
        identity_checker: None: nobody is compared.
        max_pixels: of a photo.
    """

    def __init__(
        self,
        size: int,
        detector: FaceDetector | None = None,
        identity_checker: IdentityChecker | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.size, self.detector, self.identity_checker, self.max_pixels = size, detector, identity_checker, max_pixels

    # ----------------------------------------------------------------- faces
    def find_faces(
        self,
        picture: object,
        only_center: bool = False,
        aligned: bool | None = None,
        label: str = 'the picture',
        degraded: bool = True,
    ) -> list[AlignedFace]:
        """Find, cut out and measure the faces of a picture (as of `picture_of`), the largest first.

        Args:
            only_center: the most central face alone.
            aligned: the picture is one aligned face; None: that is so where there is no detector.
            label: name of the picture in errors.
            degraded: as of `IdentityChecker.embed`.

        Raises:
            RefStarError: it cannot be read; it is not square and aligned; it is not aligned and there is no detector.
        """
        picture = picture_of(picture, self.max_pixels)
        if aligned or (aligned is None and self.detector is None):
            face = self.face(fit(picture, self.size, label), degraded=degraded)
            return [replace(face, side=len(picture.rgb), tint=measure_tint(picture.rgb))]
        return self.cut_faces(picture.rgb, self.detect(picture.rgb, only_center), degraded)

    def detect(self, rgb: np.ndarray, only_center: bool = False) -> list[FoundFace]:
        """Find the faces of a photo, uint8 (H, W, 3), RGB; the largest first.

        Raises:
            RefStarError: there is no detector.
        """
        if self.detector is None:
            raise RefStarError('a whole photo needs a face detector: give its file (--detector), or aligned faces')
        with timed('detect'):
            found = self.detector(rgb)
        return most_central(found, rgb.shape) if only_center else found

    def cut_faces(self, rgb: np.ndarray, found: Sequence[FoundFace], degraded: bool = True) -> list[AlignedFace]:
        """Cut faces out of a photo and measure them."""
        faces, whole = [], measure_tint(rgb) if found else None
        for one in found:
            crop, matrix, points = cut(rgb, one.points, self.size)
            face, side = self.face(crop, points, degraded), side_in_photo(matrix, self.size)
            own = None if whole is None else measure_tint(crop)  # a mount of another tint does not count
            faces.append(replace(face, found=one, matrix=matrix, side=side, tint=whole if own is None else own))
        return faces

    def face(self, crop: np.ndarray, points: np.ndarray | None = None, degraded: bool = True) -> AlignedFace:
        """Measure an aligned face, uint8 (S, S, 3), RGB, with five points in its pixels if they are known."""
        embedding = None
        if self.identity_checker:
            with timed('identity'):
                embedding = self.identity_checker.embed([crop], degraded)[0]
        return AlignedFace(crop, FaceAttributes.measure(crop, points), points, embedding)

    # ----------------------------------------------------------------- references
    def read_references(
        self, sources: Sequence[object], name: str = 'references', one_person: bool = False, aligned: bool = False
    ) -> list[Person]:
        """Read photos (as of `picture_of`) of any number of people, the first of which gets the name.

        Photos of `one_person` are meant to show one: faces of others are left out. Else everybody is returned whom the
        identity network finds. `aligned`: square photos are aligned faces.

        Raises:
            RefStarError: no reference is left; says why.
        """
        references, dropped = [], {}
        labels = [str(s) if isinstance(s, (str, Path)) else f'{name} {i + 1}' for i, s in enumerate(sources)]
        for source, label in zip(sources, unique(labels), strict=True):
            try:
                references += [(label, reference) for reference in self.references_on(source, label, aligned)]
            except RefStarError as error:
                dropped[label] = str(error).removeprefix(f'{label}: ')
        people = self.group(references, name, dropped, one_person)
        if not any(person.references for person in people):
            reasons = '; '.join(f'{label}: {why}' for person in people for label, why in person.dropped.items())
            raise RefStarError(f"no usable photo of person '{name}'{': ' + reasons if reasons else ''}")
        return [person for person in people if person.references]

    def references_on(self, source: object, label: str, aligned: bool = False) -> list[Reference]:
        """Find every face of a photo (as of `picture_of`), the largest first; `label` is its name for people.

        `aligned`: a square photo is an aligned face.

        Raises:
            RefStarError: it cannot be read, or shows no face.
        """
        picture = picture_of(source, self.max_pixels)
        aligned = self.detector is None or (aligned and picture.rgb.shape[0] == picture.rgb.shape[1])
        faces = self.find_faces(picture, aligned=aligned, label=label, degraded=False)
        if not faces:
            raise RefStarError(f'{label}: no face found')
        names = [label] if len(faces) == 1 else [f'{label} (face {i + 1} of {len(faces)})' for i in range(len(faces))]
        return [
            Reference(name, face.crop, face.attributes, face.points, face.embedding)
            for name, face in zip(names, faces, strict=True)
        ]

    def group(
        self, references: list[tuple[str, Reference]], name: str, dropped: dict[str, str], one_person: bool = False
    ) -> list[Person]:
        """Group (photo, reference) pairs by person, the person of most photos first; drop duplicates and blurred ones.

        Photos that were dropped before are listed under the first person; arguments as of :meth:`read_references`.
        """
        if not references:
            return [Person(name, [], dropped)]
        if self.identity_checker is None:  # the largest face of every photo
            largest: dict[str, Reference] = {}
            for photo, ref in references:
                largest.setdefault(photo, ref)
            others = [ref for photo, ref in references if ref is not largest[photo]]
            dropped |= {ref.name: 'not the largest face of its photo' for ref in others}
            return [drop_useless(Person(name, list(largest.values()), dropped))]
        rows = np.stack([ref.embedding for _, ref in references])
        groups = same_person(rows, 1 - self.identity_checker.clean_threshold)
        groups.sort(key=lambda group: -len({references[i][0] for i in group}))
        people = [
            Person(f'{name} ({number})' if number > 1 else name, [references[i][1] for i in group])
            for number, group in enumerate(groups, 1)
        ]
        if one_person:
            mean = mean_embedding(people[0])
            for ref in (ref for other in people[1:] for ref in other.references):
                dropped[ref.name] = f'another person than the other photos (similarity {ref.embedding @ mean:.2f})'
            people = people[:1]
        people[0].dropped |= dropped
        return [drop_useless(person) for person in people]


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


# ----------------------------------------------------------------- photos of one person
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


def mean_embedding(person: Person) -> np.ndarray:
    """Return the mean direction of a person's embeddings, (d,), of length 1."""
    mean = np.sum([ref.embedding for ref in person.references], axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def compare(embedding: np.ndarray | None, person: Person, checker: IdentityChecker | None) -> IdentityVerdict:
    """Compare a degraded face with the mean of a person's photos; nothing is known without an identity network."""
    if checker is None or embedding is None or any(ref.embedding is None for ref in person.references):
        return IdentityVerdict(person.name)
    return IdentityVerdict(person.name, *checker.judge(embedding, mean_embedding(person)))
