"""What was done with a photo, for the JSON beside it and the report."""

from typing import Any

import numpy as np

from refstar.data.face_region import face_oval

from .detection import FoundFace
from .face_plan import Result
from .mask_files import legend
from .reference_choice import Choice


def face_record(result: Result, found: FoundFace | None) -> dict[str, Any]:
    """One face: whose references, which of them and why, and how much of the face came from each."""
    identity, oval = result.identity, face_oval(len(result.image)) > 0
    record: dict[str, Any] = {}
    if found is not None:
        record['box'] = [round(float(v), 1) for v in found.box]
        record['points'] = [[round(float(v), 1) for v in point] for point in found.points]
        record['detector_score'] = round(found.score, 3)
    record |= {
        'person': identity.person,
        'similarity': _rounded(identity.similarity),
        'threshold': _rounded(identity.threshold),
        'same_person': identity.same,
        'references': [
            _reference(choice, mask, share, oval)
            for choice, mask, share in zip(result.chosen, result.mask, result.attribution, strict=True)
        ],
        'from_references': _rounded(float(result.attribution.sum(0)[oval].mean())) if result.chosen else 0.0,
        'dropped': result.dropped,
        'colours': legend(result),
        'notes': result.notes,
    }
    return record


def _reference(choice: Choice, mask: np.ndarray, share: np.ndarray, oval: np.ndarray) -> dict[str, Any]:
    return {
        'name': choice.reference.name,
        'score': _rounded(choice.score),
        'why': {key: _rounded(value) for key, value in choice.terms.items()},
        'similarity': _rounded(choice.similarity),
        'selected': _rounded(float(mask[oval].mean())),
        'share_of_face': _rounded(float(share[oval].mean())),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
