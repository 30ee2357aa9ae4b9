"""One user's photo in the making: its faces, references, painted masks, restored faces, picture and record."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture, encode_picture, read_picture

from .faces import AlignedFace, Person, Reference, RestoreSettings
from .input_files import unique
from .photo import put_back
from .restore_report import face_record, record_text
from .restorer import Restorer

ReadPhotos = dict[str, tuple[str, list[Reference]]]  # file -> its name for people, its faces


@dataclass(frozen=True)
class ShownFace:
    """A face of the photo as it was restored last."""

    settings: RestoreSettings
    by_hand: bool  # the user chose the references
    arms: dict[str, AlignedFace]  # `without` references; `with` them and `wrong`, another person's, if there are any

    @property
    def best(self) -> AlignedFace:
        """The face as it goes into the photo."""
        return self.arms.get('with', self.arms['without'])

    @property
    def used(self) -> list[str]:
        """Names of the references in use, the most useful first."""
        return [ref.name for ref in self.best.references]

    def mask_of(self, name: str) -> np.ndarray:
        """Return what was used of a reference, (S, S) uint8."""
        return np.rint(self.best.mask[self.used.index(name)] * 255).astype(np.uint8)

    def why(self, name: str) -> str:
        """Return why a reference is used or not."""
        if name in self.used:
            return f'fits by {self.best.chosen[self.used.index(name)].why}'
        otherwise = 'not chosen' if self.by_hand else 'not the person of this face'
        return self.best.dropped.get(name, otherwise)


@dataclass
class PhotoSession:
    """Restore one photo step by step."""

    restorer: Restorer  # shared by all sessions, used by one at a time
    max_pixels: int  # of a picture
    photo: Picture | None = None
    name: str = ''  # of the photo's file
    faces: list[AlignedFace] = field(default_factory=list)  # of the photo, the largest first
    face: int = 0  # number of the face to restore
    references: ReadPhotos = field(default_factory=dict)  # photos of the person
    others: ReadPhotos = field(default_factory=dict)  # photos of another person, for comparison
    painted: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)  # (face, reference) -> (S, S) in [0, 1]
    shown: dict[int, ShownFace] = field(default_factory=dict)  # restored faces by their number

    def reference_faces(self) -> list[Reference]:
        """Return every face on the photos of the person."""
        return [face for _, faces in self.references.values() for face in faces]

    def take_photo(self, file: str | Path) -> None:
        """Take another photo and find its faces.

        Raises:
            RefStarError: it is no picture, is too large, or shows no face. The photo before stays.
        """
        name = Path(file).name
        photo = read_picture(file, self.max_pixels, name)
        faces = self.restorer.find_faces(photo, label=name)
        if not faces:
            raise RefStarError(f'{name}: no face was found; take a photo with a larger or less turned face')
        self.photo, self.name, self.faces, self.face = photo, name, faces, 0
        self.painted.clear()
        self.shown.clear()

    def take_references(self, files: Iterable[str | Path], others: bool = False) -> None:
        """Take these photos of the person, or of another person, and no others. Those read before are not read again.

        Raises:
            RefStarError: one is no picture or shows no face. The others are taken.
        """
        kept = self.others if others else self.references
        files, errors = list(map(str, files)), []
        for file in kept.keys() - set(files):
            names = {face.name for face in kept.pop(file)[1]}
            self.painted = {key: mask for key, mask in self.painted.items() if key[1] not in names}
        for file in (file for file in files if file not in kept):
            taken = [name for name, _ in (*self.references.values(), *self.others.values())]
            (name,) = unique([Path(file).name], taken)
            try:
                kept[file] = name, self.restorer.references_on(read_picture(file, self.max_pixels, name), name)
            except RefStarError as error:
                errors.append(str(error))
        if errors:
            raise RefStarError('; '.join(errors))

    def paint(self, name: str, mask: np.ndarray | None) -> None:
        """Set the selection on a reference of the face, (S, S) in [0, 1]; None: as the network selects."""
        self.painted.pop((self.face, name), None)
        if mask is not None:
            self.painted[self.face, name] = mask

    def restore(self, settings: RestoreSettings, chosen: Collection[str] | None = None) -> ShownFace:
        """Restore the face without references, with them, and with those of another person.

        The references of these names (`chosen`) are used; None: they are chosen for the face.

        Raises:
            RefStarError: there is no photo, or the network cannot do what is asked for.
        """
        if self.photo is None:
            raise RefStarError('give a photo first')
        masks = {name: mask for (face, name), mask in self.painted.items() if face == self.face}
        right = self._prepare(self.references, settings, chosen, len(self.faces) == 1)
        prepared = {'without': self.faces[self.face], 'with': right and right.with_masks(masks)}
        prepared['wrong'] = self._prepare(self.others, settings, None, True)
        arms = {name: self.restorer.restore([face], settings)[0] for name, face in prepared.items() if face}
        self.shown[self.face] = ShownFace(settings, chosen is not None, arms)
        return self.shown[self.face]

    def _prepare(
        self, photos: ReadPhotos, settings: RestoreSettings, chosen: Collection[str] | None, alone: bool
    ) -> AlignedFace | None:
        faces = [(file, ref) for file, (_, refs) in photos.items() for ref in refs]
        faces = [(file, ref) for file, ref in faces if chosen is None or ref.name in chosen]
        if not faces:
            return None
        if chosen is None:
            people = self.restorer.group(faces, 'the references', {})
        else:
            people = [Person('the references', [ref for _, ref in faces])]
            settings, alone = replace(settings, num_refs=len(faces)), True
        return self.restorer.prepare([self.faces[self.face]], people, settings, alone)[0]

    def picture(self) -> bytes:
        """Return the photo with all faces that were restored, the content of a PNG file."""
        restored = put_back(self.photo, [self.shown[number].best for number in sorted(self.shown)])
        return encode_picture(restored.picture, 'PNG')

    def record(self, network: str) -> str:
        """Return the record that `refstar restore` writes beside a photo, with what the user chose, as JSON."""
        faces = []
        for number, shown in sorted(self.shown.items()):
            settings = {key: getattr(shown.settings, key) for key in ('strength', 'use', 'keep')}
            painted = [name for face, name in self.painted if face == number]
            settings |= {'references_by_hand': shown.by_hand, 'masks_by_hand': painted}
            faces.append({'face': number, **settings, **face_record(shown.best)})
        return record_text(self.name, network, self.restorer.identity_checker, faces=faces)
