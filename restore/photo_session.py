"""One user's photo in the making: its faces, references, painted masks, restored arms, picture and record."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture, encode_picture, read_picture

from .alignment import FoundFace
from .faces import DegradedFace, Person, PreparedFace, Reference, RestoredFace, RestoreSettings
from .input_files import unique
from .photo import put_back
from .references import ReferenceReader, fit
from .restore_report import face_record
from .restorer import Restorer

MAX_FACES = 16  # of a picture; of more the largest are looked at


@dataclass(frozen=True)
class ShownFace:
    """A face of the photo as it was restored last.

    Args:
        settings: how.
        by_hand: the user chose the references.
        arms: `without` references; `with` them and `wrong`, with those of another person, where there are any.
        whys: names of references -> why they are used or not.
    """

    settings: RestoreSettings
    by_hand: bool
    arms: dict[str, RestoredFace]
    whys: dict[str, str]

    @property
    def best(self) -> RestoredFace:
        """The face as it goes into the photo."""
        return self.arms.get('with', self.arms['without'])

    @property
    def used(self) -> list[str]:
        """Names of the references in use, the most useful first."""
        return [choice.reference.name for choice in self.best.chosen]

    def mask_of(self, name: str) -> np.ndarray:
        """Return what was used of a reference, (S, S) uint8."""
        return np.rint(self.best.mask[self.used.index(name)] * 255).astype(np.uint8)


@dataclass(eq=False)
class PhotoSession:
    """Restore one photo step by step.

    Args:
        restorer: opened networks; shared by all sessions, used by one at a time.
        max_pixels: of a picture.

    Attributes:
        photo: the photo, None before there is one.
        name: its file name.
        found: its faces, the largest first; [None] for an aligned face.
        face: number of the face to restore.
        references, others: faces of the person's photos and of another person's, by the key of their photo.
        painted: references with a mask painted by the user, by number of the face and name of the reference.
        shown: restored faces by their number.
    """

    restorer: Restorer
    max_pixels: int
    photo: Picture | None = None
    name: str = ''
    found: list[FoundFace | None] = field(default_factory=list)
    face: int = 0
    references: dict[str, list[Reference]] = field(default_factory=dict)
    others: dict[str, list[Reference]] = field(default_factory=dict)
    painted: dict[tuple[int, str], Reference] = field(default_factory=dict)
    shown: dict[int, ShownFace] = field(default_factory=dict)
    _faces: dict[int, DegradedFace] = field(default_factory=dict)
    _kept: dict[str, tuple] = field(default_factory=dict)
    _photo_names: dict[str, str] = field(default_factory=dict)

    def nbytes(self) -> int:
        """Return the bytes of the photo."""
        return 0 if self.photo is None else self.photo.rgb.nbytes

    def reference_faces(self) -> list[Reference]:
        """Return every face on the photos of the person."""
        return [face for faces in self.references.values() for face in faces]

    # ----------------------------------------------------------------- what the user gives
    def take_photo(self, data: bytes, name: str) -> None:
        """Take another photo and find its faces; what belonged to the one before is forgotten.

        Args:
            data: content of the file.
            name: of the file.

        Raises:
            RefStarError: it is no picture, is too large, or shows no face.
        """
        photo = read_picture(data, self.max_pixels, name)
        found: list[FoundFace | None] = [None]
        if self.restorer.detector is None:
            fit(photo, self.restorer.size, name)
        else:
            found = self._detect(photo.rgb)
            if not found:
                raise RefStarError(f'{name}: no face was found; take a photo with a larger or less turned face')
        self.photo, self.name, self.found, self.face = photo, name, found, 0
        for old in (self.painted, self.shown, self._faces, self._kept):
            old.clear()

    def take_references(self, photos: dict[str, tuple[str, Callable[[], bytes]]], others: bool = False) -> None:
        """Take the photos of references; those that are there already stay, those that are not named are forgotten.

        Args:
            photos: key -> (name, reader of the file's content).
            others: they show another person, for comparison.

        Raises:
            RefStarError: one is no picture or shows no face; the others are taken.
        """
        kept = self.others if others else self.references
        for key in kept.keys() - photos.keys():
            gone = kept.pop(key)
            del self._photo_names[key]
            names = {face.name for face in gone}
            self.painted = {place: ref for place, ref in self.painted.items() if place[1] not in names}
        detector = None if self.restorer.detector is None else self._detect
        checker = self.restorer.identity_checker
        reader = ReferenceReader(self.restorer.size, detector, checker, self.max_pixels)
        errors = []
        for key in [key for key in photos if key not in kept]:
            name, read = photos[key]
            (label,) = unique([name], self._photo_names.values())
            try:
                kept[key] = reader.faces(read_picture(read(), self.max_pixels, label), label)
                self._photo_names[key] = label
            except RefStarError as error:
                errors.append(str(error))
        if errors:
            raise RefStarError('; '.join(errors))

    def paint(self, name: str, mask: np.ndarray | None) -> None:
        """Set the selection on a reference of the face.

        Args:
            name: of the reference.
            mask: (S, S) in [0, 1]; None: as the network selects.
        """
        self.painted.pop((self.face, name), None)
        if mask is not None:
            reference = next(ref for ref in self.reference_faces() if ref.name == name)
            self.painted[self.face, name] = replace(reference, mask=mask, encoded=None)

    def _detect(self, rgb: np.ndarray) -> list[FoundFace]:
        return self.restorer.detector(rgb)[:MAX_FACES]

    # ----------------------------------------------------------------- restoring
    def restore(self, settings: RestoreSettings, chosen: Collection[str] | None = None) -> ShownFace:
        """Restore the face without references, with them, and with those of another person.

        Args:
            settings: how.
            chosen: names of the references that the user chose; None: they are chosen for the face.

        Raises:
            RefStarError: there is no photo, or the network cannot do what is asked for.
        """
        if self.photo is None:
            raise RefStarError('give a photo first')
        self.restorer.check(settings)
        bare = PreparedFace(self._degraded())
        arms = {'without': self._arm('without', bare, replace(RestoreSettings(strength=0), fidelity=settings.fidelity))}
        right = self._prepare(self.references, settings, chosen, len(self.found) == 1)
        if right is not None:
            chosen_refs = [
                replace(choice, reference=self.painted.get((self.face, choice.reference.name), choice.reference))
                for choice in right.chosen
            ]
            arms['with'] = self._arm('with', replace(right, chosen=chosen_refs), settings)
        wrong = self._prepare(self.others, settings, None, True)
        if wrong is not None:
            arms['wrong'] = self._arm('wrong', wrong, settings)
        whys = self._whys(arms.get('with'), chosen is not None)
        self.shown[self.face] = ShownFace(settings, chosen is not None, arms, whys)
        return self.shown[self.face]

    def _degraded(self) -> DegradedFace:
        if self.face not in self._faces:
            found = self.found[self.face]
            if found is None:
                degraded = self.restorer.face(fit(self.photo, self.restorer.size, self.name))
            else:
                degraded = self.restorer.cut_face(self.photo.rgb, found)
            self._faces[self.face] = degraded
        return self._faces[self.face]

    def _prepare(
        self, photos: dict[str, list[Reference]], settings: RestoreSettings, chosen: Collection[str] | None, alone: bool
    ) -> PreparedFace | None:
        """The face with references of `photos`; None where there are none."""
        faces = [(key, ref) for key, refs in photos.items() for ref in refs if chosen is None or ref.name in chosen]
        if not faces:
            return None
        if chosen is not None:
            people = [Person('the references', [ref for _, ref in faces])]
            settings, alone = replace(settings, num_refs=len(faces)), True
        else:
            people = self.restorer.reader.people(faces, 'the references', {})
        return self.restorer.prepare([self._degraded()], people, settings, alone)[0]

    def _arm(self, name: str, prepared: PreparedFace, settings: RestoreSettings) -> RestoredFace:
        """Restore, unless the network did the very same before."""
        made_from = self.face, settings, [id(choice.reference) for choice in prepared.chosen]
        if self._kept.get(name, (None,))[0] != made_from:
            self._kept[name] = made_from, self.restorer.restore([prepared], settings)[0]
        result = self._kept[name][1]
        return replace(result, identity=prepared.identity, dropped=prepared.dropped, notes=prepared.notes)

    def _whys(self, face: RestoredFace | None, by_hand: bool) -> dict[str, str]:
        otherwise = 'not chosen' if by_hand else 'not the person of this face'
        used = {choice.reference.name: choice for choice in face.chosen} if face else {}
        whys = {}
        for ref in self.reference_faces():
            if ref.name in used:
                terms = ', '.join(f'{key} {value:.2f}' for key, value in used[ref.name].terms.items())
                whys[ref.name] = f'fits by {used[ref.name].score:.2f} ({terms})'
            else:
                whys[ref.name] = face.dropped.get(ref.name, otherwise) if face else otherwise
        return whys

    # ----------------------------------------------------------------- what the user gets
    def picture(self) -> bytes:
        """Return the photo with all faces that were restored, the content of a PNG file."""
        restored = put_back(self.photo, [self.shown[number].best for number in sorted(self.shown)])
        return encode_picture(restored.picture, 'PNG')

    def record(self, network: str) -> bytes:
        """Return the record that `refstar restore` writes beside a photo, with what the user chose.

        Args:
            network: name of the network's file.
        """
        faces = []
        for number, shown in sorted(self.shown.items()):
            settings = {'strength': shown.settings.strength, 'use': shown.settings.use, 'keep': shown.settings.keep}
            painted = [name for face, name in self.painted if face == number]
            settings |= {'references_by_hand': shown.by_hand, 'masks_by_hand': painted}
            faces.append({'face': number, **settings, **face_record(shown.best)})
        checker = self.restorer.identity_checker
        check = checker.about() if checker else None
        record = {'input': self.name, 'network': network, 'identity_check': check, 'faces': faces}
        return (json.dumps(record, indent=1, ensure_ascii=False) + '\n').encode()
