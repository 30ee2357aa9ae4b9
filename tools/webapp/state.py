"""A session in words and numbers, as the page shows it; and its pictures, as PNG files."""

from typing import Any

import cv2
import numpy as np

from refstar.restore.attribution import attribution_map
from refstar.restore.face_plan import Result
from refstar.restore.face_record import face_record
from refstar.restore.mask_files import legend
from refstar.restore.regions import NAMES
from refstar.restore.restore_settings import Settings
from refstar.restore.restorer import Restorer
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture, encode_picture

from .limits import Limits
from .sessions import Absent, Session, Shown, Upload


def about(restorer: Restorer, limits: Limits) -> dict[str, Any]:
    """What the page can do."""

    def can(**settings: Any) -> bool:
        try:
            restorer.engine.check(Settings(**settings))
        except RefStarError:
            return False
        return True

    return {
        'size': restorer.size,
        'detector': restorer.detector is not None,
        'identity': restorer.guard.about() if restorer.guard else None,
        'fidelity': can(fidelity=0.5),
        'edits': can(use=('eyes',)),
        'parts': NAMES,
        'upload': limits.upload,
        'pixels': limits.pixels,
        'references': limits.references,
    }


def state_of(session: Session) -> dict[str, Any]:
    """What the session holds."""
    photo, shown = session.photo, session.shown
    return {
        'photo': None
        if photo is None
        else {
            'name': photo.name,
            'width': photo.picture.rgb.shape[1],
            'height': photo.picture.rgb.shape[0],
            'faces': [None if face is None else [round(float(v), 1) for v in face.box] for face in photo.found],
            'restored': sorted(session.done),
        },
        'references': [_upload(number, upload, session) for number, upload in session.uploads.items()],
        'shown': None
        if shown is None
        else {
            'version': shown.version,
            'face': shown.face,
            'arms': [name for name in ('without', 'with', 'stranger') if name in shown.arms],
            'chosen': shown.keys,
            'by_hand': shown.by_hand,
            'edited': [key for face, key in session.edited if face == shown.face],
            'colours': list(legend(shown.best).values()),
            **{name: face_record(result, None) for name, result in shown.arms.items() if name != 'without'},
        },
    }


def _upload(number: int, upload: Upload, session: Session) -> dict[str, Any]:
    shown = session.shown
    result = shown and shown.arms.get('stranger' if upload.stranger else 'with')
    otherwise = 'not chosen' if shown and shown.by_hand else 'not the person of this face'
    faces = [{'key': key, **_use(ref.name, result, otherwise)} for key, ref in upload.faces.items()]
    return {'number': number, 'name': upload.name, 'stranger': upload.stranger, 'faces': faces}


def _use(name: str, result: Result | None, otherwise: str) -> dict[str, Any]:
    """Whether a reference is in use, and why or why not."""
    if result is None:
        return {'used': False, 'why': ''}
    for choice in result.chosen:
        if choice.reference.name == name:
            why = ', '.join(f'{key} {value:.2f}' for key, value in choice.terms.items())
            return {'used': True, 'why': f'fits by {choice.score:.2f} ({why})'}
    return {'used': False, 'why': result.dropped.get(name, otherwise)}


def shown_of(session: Session, version: str) -> Shown:
    """The result of a version.

    Raises:
        Absent: another one is shown by now.
    """
    if session.shown is None or str(session.shown.version) != version:
        raise Absent('this result is not shown any more')
    return session.shown


def arm_png(session: Session, version: str, arm: str) -> bytes:
    """A face of the result: `before`, an arm, or `attribution`: which pixels came from which reference."""
    shown = shown_of(session, version)
    if arm == 'before':
        return png(shown.best.before)
    if arm == 'attribution' and 'with' in shown.arms:
        result = shown.arms['with']
        return png(attribution_map(result.image, result.attribution))
    if arm not in shown.arms:
        raise Absent('the result has no such picture')
    return png(shown.arms[arm].image)


def mask_png(session: Session, version: str, key: str) -> bytes:
    """The selection on a reference: by hand if there is one, else what the network used. 8-bit grey."""
    shown = shown_of(session, version)
    if key not in shown.keys:
        raise Absent('this reference is not in use')
    edited = session.edited.get((shown.face, key))
    mask = shown.arms['with'].mask[shown.keys.index(key)] if edited is None else edited.mask
    return cv2.imencode('.png', np.rint(mask * 255).astype(np.uint8))[1].tobytes()


def reference_png(session: Session, key: str) -> bytes:
    """An aligned face of a reference."""
    faces = session.references()
    if key not in faces:
        raise Absent('there is no such reference')
    return png(faces[key].crop)


def png(rgb: np.ndarray) -> bytes:
    """uint8 (H, W, 3) as a PNG file."""
    return encode_picture(Picture(rgb), 'PNG')
