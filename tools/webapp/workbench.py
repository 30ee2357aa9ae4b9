"""What is done for a session: photos taken in, faces found and restored, masks changed. The queue runs all of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image

from refstar.curate.mask_png import decode_mask
from refstar.restore.detection import FoundFace
from refstar.restore.face_plan import Face, Identity, Plan, Result
from refstar.restore.face_record import face_record
from refstar.restore.photo import Layout, cut_faces, put_back
from refstar.restore.references import Person, ReferenceReader, fit
from refstar.restore.restore_settings import Settings
from refstar.restore.restorer import Restorer
from refstar.restore.unique_names import unique
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture, encode_picture, read_picture

from .limits import Limits
from .sessions import Absent, Photo, Session, Shown, Upload
from .state import state_of
from .wish import Wish

PREVIEW = 1280  # longer side of the photo as the page shows it


class Workbench:
    """The network and what it is asked for.

    Args:
        restorer: opened networks.
        limits: of the page.
        check_room: raises an error where the pictures of all sessions are too large.
        network: name of the network's file, for records.
    """

    def __init__(self, restorer: Restorer, limits: Limits, check_room: Callable[[], None], network: str) -> None:
        self.restorer, self.limits, self.check_room, self.network = restorer, limits, check_room, network
        detector = None if restorer.detector is None else self.largest_faces
        self.reader = ReferenceReader(restorer.size, detector, restorer.guard, limits.pixels)

    def largest_faces(self, rgb: np.ndarray) -> list[FoundFace]:
        """The faces of a picture, as many as the page shows: of no more anything is cut out or measured."""
        return self.restorer.detector(rgb)[: self.limits.faces]

    def forget(self, session: Session) -> None:
        """Lets the network forget what it made of a session's references."""
        self.restorer.engine.forget(session.all_references())

    # ----------------------------------------------------------------- what the user gives
    def take_photo(self, session: Session, name: str, data: bytes) -> dict[str, Any]:
        """Takes the photo to restore and finds its faces.

        Raises:
            RefStarError: it is no picture, is too large, or shows no face.
        """
        picture = read_picture(data, self.limits.pixels, name)
        if self.restorer.detector is None:
            fit(picture, self.restorer.size, name)
            found = [None]
        else:
            found = self.largest_faces(picture.rgb)
            if not found:
                raise RefStarError(f'{name}: no face was found; take a photo with a larger or less turned face')
        before = session.photo
        session.photo = Photo(name, picture, found, preview_of(picture))
        try:
            self.check_room()
        except RefStarError:
            session.photo = before
            raise
        self.restorer.engine.forget(session.edited.values())
        session.start_photo(session.photo)
        return self.tell(session)

    def take_reference(self, session: Session, name: str, data: bytes, stranger: bool) -> dict[str, Any]:
        """Takes a photo of a reference, or of somebody else to compare with.

        Raises:
            RefStarError: it is no picture, shows no face, or there are too many.
        """
        if len(session.uploads) >= self.limits.references:
            raise RefStarError(f'{name}: there are {self.limits.references} references already; remove one first')
        picture = read_picture(data, self.limits.pixels, name)
        (name,) = unique([name], {upload.name for upload in session.uploads.values()})
        number, faces = session.number(), self.reader.faces(picture, name)
        session.uploads[number] = Upload(name, stranger, {f'{number}-{i}': face for i, face in enumerate(faces)})
        try:
            self.check_room()
        except RefStarError:
            del session.uploads[number]
            raise
        return self.tell(session)

    def remove_reference(self, session: Session, number: str) -> dict[str, Any]:
        """Forgets a photo of a reference.

        Raises:
            Absent: there is none of that number.
        """
        upload = next((n for n in session.uploads if str(n) == number), None)
        if upload is None:
            raise Absent(f'there is no reference {number[:20]}')
        faces = session.uploads.pop(upload).faces
        edited = [session.edited.pop(place) for place in list(session.edited) if place[1] in faces]
        self.restorer.engine.forget([*faces.values(), *edited])
        return self.tell(session)

    def edit_mask(self, session: Session, key: str, data: bytes | None) -> dict[str, Any]:
        """Takes a mask by hand for a reference of the face that is shown; None: the network's own again.

        Raises:
            RefStarError: the reference is not in use, or the mask is no grey PNG of the network's size.
        """
        references = session.references()
        if session.shown is None or key not in session.shown.keys or key not in references:
            raise Absent('this reference is not in use; restore the face first')
        place, size = (session.shown.face, key), self.restorer.size
        mask = None if data is None else decode_mask(data, (size, size), 'the mask').astype(np.float32) / 255
        if place in session.edited:
            self.restorer.engine.forget([session.edited.pop(place)])
        if mask is not None:
            session.edited[place] = replace(references[key], mask=mask, encoded=None)
        return self.tell(session)

    # ----------------------------------------------------------------- restoring
    def restore(self, session: Session, wish: Wish) -> dict[str, Any]:
        """Restores one face without references, with them, and with those of a stranger.

        Raises:
            RefStarError: there is no photo, no such face, no room, or the network cannot do what is asked for.
        """
        if session.photo is None:
            raise RefStarError('drop a photo first')
        if not 0 <= wish.face < len(session.photo.found):
            raise RefStarError(f'face {wish.face}: the photo has {len(session.photo.found)}, counted from 0')
        self.restorer.check(wish.settings)
        if wish.face not in session.done:
            self.check_room()
        face = self.face(session.photo, wish.face)
        bare = Plan(face, [], Identity(), {}, [])
        plans = {'with': self.plan(session, wish, face, False), 'stranger': self.plan(session, wish, face, True)}
        alone = Settings(strength=0.0, fidelity=wish.settings.fidelity)
        arms = {'without': self.arm(session, 'without', wish.face, bare, alone)}
        for name, plan in plans.items():
            if plan is None:
                session.kept.pop(name, None)
            else:
                arms[name] = self.arm(session, name, wish.face, plan, wish.settings)
        keys = [session.key_of(choice.reference) for choice in arms['with'].chosen] if 'with' in arms else []
        by_hand = wish.chosen is not None
        session.shown = Shown(session.number(), wish.face, wish.settings, by_hand, arms, keys)
        session.done[wish.face] = session.shown
        return self.tell(session)

    def face(self, photo: Photo, number: int) -> Face:
        """A face of the photo, cut out and measured once."""
        if number not in photo.faces:
            found = photo.found[number]
            if found is None:
                crop = fit(photo.picture, self.restorer.size, photo.name)
                photo.faces[number] = self.restorer.face(crop), None
            else:
                faces, matrices = cut_faces(self.restorer, photo.picture.rgb, [found])
                photo.faces[number] = faces[0], matrices[0]
        return photo.faces[number][0]

    def plan(self, session: Session, wish: Wish, face: Face, stranger: bool) -> Plan | None:
        """The face with references of its person, or of the strangers; None where there are none."""
        uploads = [upload for upload in session.uploads.values() if upload.stranger == stranger]
        by_hand = wish.chosen is not None and not stranger
        faces = [
            (upload.name, ref)
            for upload in uploads
            for key, ref in upload.faces.items()
            if not by_hand or key in wish.chosen
        ]
        if not faces:
            return None
        name = 'somebody else' if stranger else 'the references'
        if by_hand:
            people, settings = [Person(name, [ref for _, ref in faces])], replace(wish.settings, num_refs=len(faces))
        else:
            people, settings = self.reader.people(faces, name, {}), wish.settings
        alone = by_hand or stranger or len(session.photo.found) == 1
        plan = self.restorer.plan([face], people, settings, alone)[0]
        chosen = []
        for choice in plan.chosen:
            edited = session.edited.get((wish.face, session.key_of(choice.reference)))
            chosen.append(choice if edited is None else replace(choice, reference=edited))
        return replace(plan, chosen=chosen)

    def arm(self, session: Session, name: str, face: int, plan: Plan, settings: Settings) -> Result:
        """Restores, unless the network did the very same before."""
        made_from = face, settings, [id(choice.reference) for choice in plan.chosen]
        if session.kept.get(name, (None,))[0] != made_from:
            session.kept[name] = made_from, self.restorer.restore([plan], settings)[0]
        said = {key: getattr(plan, key) for key in ('identity', 'chosen', 'dropped', 'notes')}
        return replace(session.kept[name][1], **said)

    # ----------------------------------------------------------------- what the user gets
    def picture(self, session: Session) -> bytes:
        """The photo with all faces that were restored, the content of a PNG file.

        Raises:
            Absent: nothing was restored yet.
        """
        photo, done = session.photo, dict(sorted(session.done.items()))
        if photo is None or not done:
            raise Absent('nothing was restored yet')
        if photo.found == [None]:
            restored = replace(photo.picture.with_rgb(done[0].best.image), alpha=None)
        else:
            matrices = [photo.faces[number][1] for number in done]
            rgb, _ = put_back(photo.picture.rgb, [one.best for one in done.values()], matrices, Layout())
            restored = photo.picture.with_rgb(rgb)
        return encode_picture(restored, 'PNG')

    def record(self, session: Session) -> bytes:
        """The same record that `refstar restore` writes beside a photo.

        Raises:
            Absent: nothing was restored yet.
        """
        photo, guard = session.photo, self.restorer.guard
        if photo is None or not session.done:
            raise Absent('nothing was restored yet')
        faces = []
        for number, shown in sorted(session.done.items()):
            settings = {'strength': shown.settings.strength, 'use': shown.settings.use, 'keep': shown.settings.keep}
            edited = [ref.name for (face, _), ref in session.edited.items() if face == number]
            settings |= {'references_by_hand': shown.by_hand, 'masks_by_hand': edited}
            faces.append({'face': number, **settings, **face_record(shown.best, photo.found[number])})
        check = guard.about() if guard else None
        record = {'input': photo.name, 'network': self.network, 'identity_check': check, 'faces': faces}
        return (json.dumps(record, indent=1, ensure_ascii=False) + '\n').encode()

    def tell(self, session: Session) -> dict[str, Any]:
        """Renews what the page is told of the session."""
        session.state = state_of(session)
        return session.state


def preview_of(picture: Picture) -> bytes:
    """A JPEG file of the photo for the screen."""
    scale = PREVIEW / max(picture.rgb.shape[:2])
    rgb = picture.rgb
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in rgb.shape[1::-1])
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    file = BytesIO()
    Image.fromarray(rgb).save(file, 'JPEG', quality=90)
    return file.getvalue()
