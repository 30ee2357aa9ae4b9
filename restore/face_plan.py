"""A face, what is to be done with it, and what came of it."""

from dataclasses import dataclass

import numpy as np

from .face_attributes import Traits
from .reference_choice import Choice


@dataclass(frozen=True)
class Face:
    """A degraded face.

    Args:
        crop: aligned, uint8 (S, S, 3), RGB.
        traits: what was measured of it.
        embedding: unit vector of the guard's network, None without a guard.
    """

    crop: np.ndarray
    traits: Traits
    embedding: np.ndarray | None


@dataclass(frozen=True)
class Identity:
    """Whether the references are of the face's person.

    Args:
        person: name of the person whose references were taken, None if none were.
        similarity: cosine of the face to the middle of the person's references, None without a guard.
        threshold: what the same person reaches, None without a guard.
        same: the verdict, None where nothing was compared.
    """

    person: str | None = None
    similarity: float | None = None
    threshold: float | None = None
    same: bool | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be done with a face.

    Args:
        face: the face.
        chosen: its references, the most useful first.
        identity: whose they are.
        dropped: references that are not used, and why.
        notes: what the user should know.
    """

    face: Face
    chosen: list[Choice]
    identity: Identity
    dropped: dict[str, str]
    notes: list[str]


@dataclass(frozen=True)
class Result:
    """A restored face.

    Args:
        image: uint8 (S, S, 3), RGB.
        before: the degraded face, the same shape.
        mask: what was used of each reference, on the reference's own grid, float32 (n, S, S) in [0, 1].
        attribution: share of each reference in every pixel of `image`, float32 (n, S, S) in [0, 1]; what is missing to
            1 is made by the backbone.
        identity: whose references they are.
        chosen: the n references, the most useful first.
        dropped: references that were not used, and why.
        notes: what the user should know.
    """

    image: np.ndarray
    before: np.ndarray
    mask: np.ndarray
    attribution: np.ndarray
    identity: Identity
    chosen: list[Choice]
    dropped: dict[str, str]
    notes: list[str]
