"""`report.html` of `refstar restore`: every face before and after, its references, and why they were chosen."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from html import escape

import cv2
import numpy as np

from .attribution import attribution_map
from .face_plan import Result

SIDE = 160  # of the pictures
CSS = """
body { font: 15px/1.4 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 1.5rem auto; padding: 0 1rem }
.face { display: flex; flex-wrap: wrap; gap: 8px; margin: .5rem 0 1.2rem } figure { margin: 0; width: 160px }
img { width: 160px; display: block } figcaption { font-size: 12px; color: #555; overflow-wrap: anywhere }
.note { background: #fff6dd; border-left: 4px solid #e0a800; padding: .3rem .7rem } .bad { color: #b00020 }
"""


def small_result(result: Result) -> Result:
    """A result of which only the pictures of the report are kept, small."""

    def small(img: np.ndarray) -> np.ndarray:
        return cv2.resize(img, (SIDE, SIDE), interpolation=cv2.INTER_AREA if len(img) > SIDE else cv2.INTER_CUBIC)

    shown = small(attribution_map(result.image, result.attribution))
    chosen = [
        replace(choice, reference=replace(choice.reference, crop=small(choice.reference.crop), encoded=None, mask=None))
        for choice in result.chosen
    ]
    none = np.zeros((0, 1, 1), np.float32)
    before, image = small(result.before), np.hstack([small(result.image), shown])
    return replace(result, image=image, before=before, mask=none, attribution=none, chosen=chosen)


def report_page(photos: Sequence[tuple[str, Sequence[Result]]], errors: Sequence[str]) -> str:
    """The page as text; nothing in it comes from elsewhere.

    Args:
        photos: name of a photo and its faces, of :func:`small_result`.
        errors: of the inputs that failed.
    """
    parts = [f'<li class="bad">{escape(error)}</li>' for error in errors]
    body = [f'<ul>{"".join(parts)}</ul>' if parts else '']
    for name, faces in photos:
        body.append(f'<h2>{escape(name)}</h2>')
        body += [_face(face) for face in faces] or ['<p>No face was found.</p>']
    title = 'Restored photos'
    head = f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{CSS}</style><h1>{title}</h1>'
    return head + '\n'.join(body) + '\n'


def _face(face: Result) -> str:
    identity = face.identity
    said = f'{identity.person}' if identity.person else 'no references'
    if identity.similarity is not None:
        said += f', similarity {identity.similarity:.2f} (the same person: {identity.threshold:.2f} or more)'
    figures = [_figure(face.before, 'before'), _figure(face.image[:, :SIDE], 'restored')]
    if face.chosen:
        figures.append(_figure(face.image[:, SIDE:], 'which reference gave what'))
    for choice in face.chosen:
        why = ', '.join(f'{key} {value:.2f}' for key, value in choice.terms.items())
        figures.append(_figure(choice.reference.crop, f'{choice.reference.name}: {choice.score:.2f} ({why})'))
    notes = ''.join(f'<p class="note">{escape(note)}</p>' for note in face.notes)
    dropped = ''.join(f'<li>{escape(name)}: {escape(why)}</li>' for name, why in face.dropped.items())
    left = f'<details><summary>{len(face.dropped)} not used</summary><ul>{dropped}</ul></details>' if dropped else ''
    return f'<p>{escape(said)}</p>{notes}<div class="face">{"".join(figures)}</div>{left}'


def _figure(img: np.ndarray, caption: str) -> str:
    code = cv2.imencode('.jpg', np.ascontiguousarray(img[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    data = base64.b64encode(code.tobytes()).decode()
    return (
        f'<figure><img alt="" src="data:image/jpeg;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )
