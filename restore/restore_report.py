"""What is written beside a restored photo: its masks, its JSON record, and the HTML report of all photos."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refstar.data.face_region import face_oval
from refstar.utils.errors import RefStarError
from refstar.utils.html_report import data_uri
from refstar.utils.image_files import Picture, decode_image, write_picture

from .face_masks import attribution_map, overlay, reference_colours
from .faces import AlignedFace
from .identity_check import IdentityChecker
from .input_files import unique

SIDE = 160  # pixels: pictures of the report
ATTRIBUTION = 'attribution'  # name of the map that lies beside the masks


# ----------------------------------------------------------------- masks
def mask_names(references: list[str]) -> list[str]:
    """Return a file name without suffix for every reference: its own, numbered where two are equal."""
    names = (re.sub(r'[\x00-\x1f/\\:*?"<>|]', '_', Path(reference).stem) or 'reference' for reference in references)
    return unique(names, [ATTRIBUTION], '{}_{}')


def grey_picture(plane: np.ndarray) -> np.ndarray:
    """Return a plane in [0, 1], (H, W), as a grey picture, uint8 (H, W, 3)."""
    return np.repeat(np.rint(plane.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, 2)


def write_masks(folder: Path, face: AlignedFace) -> None:
    """Write the selection of every reference, an overlay of it, and the attribution map into the face's folder."""
    names = mask_names([ref.name for ref in face.references])
    for name, ref, mask in zip(names, face.references, face.mask, strict=True):
        write_picture(folder / f'{name}.png', Picture(grey_picture(mask), grey=True))
        write_picture(folder / f'{name}_overlay.jpg', Picture(overlay(ref.crop, mask)))
    write_picture(folder / f'{ATTRIBUTION}.png', Picture(attribution_map(face.image, face.attribution)))


def read_masks(face: AlignedFace, folders: list[Path]) -> AlignedFace:
    """Take masks painted by the user: `<folder>/<reference's stem>.png`, white where the reference may be used.

    The folders are searched in their order for each reference.

    Raises:
        RefStarError: a mask cannot be read or is not square.
    """
    references, masks = [ref.name for ref in face.references], {}
    for reference, name in zip(references, mask_names(references), strict=True):
        path = next((folder / f'{name}.png' for folder in folders if (folder / f'{name}.png').is_file()), None)
        if path is not None:
            mask = decode_image(path, 'L').astype(np.float32) / 255
            if mask.shape[0] != mask.shape[1]:
                raise RefStarError(f'{path}: {mask.shape[1]}x{mask.shape[0]} is not square; masks are of aligned faces')
            masks[reference] = mask
    return face.with_masks(masks)


# ----------------------------------------------------------------- record
def face_record(face: AlignedFace) -> dict[str, Any]:
    """Describe one face: whose references it got, which and why, and how much of it came from each."""
    found, identity, oval = face.found, face.identity, face_oval(len(face.image)) > 0
    record: dict[str, Any] = {'restored': not face.leave, 'side': round(face.side, 1), 'drawn_side': len(face.image)}
    if found is not None:
        record['box'] = [round(float(v), 1) for v in found.box]
        record['points'] = [[round(float(v), 1) for v in point] for point in found.points]
        record['detector_score'] = round(found.score, 3)
    return record | {
        'person': identity.person,
        'similarity': _rounded(identity.similarity),
        'probability': _rounded(identity.probability),
        'among_people': None if identity.probability is None else _rounded(identity.among),
        'least_probability': None if identity.probability is None else _rounded(identity.least),
        'same_person': identity.same,
        'references': [
            {
                'name': choice.reference.name,
                'score': _rounded(choice.score),
                'why': {key: _rounded(value) for key, value in choice.terms.items()},
                'similarity': _rounded(choice.similarity),
                'selected': _rounded(mask[oval].mean()),
                'share_of_face': _rounded(share[oval].mean()),
            }
            for choice, mask, share in zip(face.chosen, face.mask, face.attribution, strict=True)
        ],
        'from_references': _rounded(face.attribution.sum(0)[oval].mean()) if face.chosen else 0.0,
        'dropped': face.dropped,
        'colours': legend(face),
        'notes': face.notes,
    }


def record_text(source: str, network: str, checker: IdentityChecker | None, **done: Any) -> str:
    """Return the record of a photo as JSON: its file, the networks, and what was `done`."""
    record = {'input': source, 'network': network, 'identity_check': checker.about() if checker else None, **done}
    return json.dumps(record, indent=1, ensure_ascii=False) + '\n'


def legend(face: AlignedFace) -> dict[str, str]:
    """Return the colour of every reference in the attribution map, as `#rrggbb`."""
    rows = reference_colours(len(face.chosen))
    return {ref.name: '#{:02x}{:02x}{:02x}'.format(*row) for ref, row in zip(face.references, rows, strict=True)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


# ----------------------------------------------------------------- report
def report_entry(face: AlignedFace) -> dict[str, Any]:
    """Return one face for `utils/templates/restore.html`, with small pictures."""
    identity = face.identity
    summary = identity.person or 'no references'
    if identity.probability is not None:
        summary += f', the same person with a probability of {identity.probability:.0%}'
    pictures = [(face.crop, 'before'), (face.image, 'restored')]
    if face.chosen:
        pictures.append((attribution_map(face.image, face.attribution), 'which reference gave what'))
    for choice in face.chosen:
        pictures.append((choice.reference.crop, f'{choice.reference.name}: {choice.why}'))
    return {
        'summary': summary,
        'notes': face.notes,
        'pictures': [(_small(picture), caption) for picture, caption in pictures],
        'dropped': [f'{name}: {why}' for name, why in face.dropped.items()],
    }


def _small(rgb: np.ndarray) -> str:
    """Return a picture for the report as a data URI."""
    shrink = cv2.INTER_AREA if len(rgb) > SIDE else cv2.INTER_CUBIC
    return data_uri(cv2.resize(rgb, (SIDE, SIDE), interpolation=shrink)[..., ::-1])
