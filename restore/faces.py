"""Settings of a restoration, references, and a face on its way: degraded, prepared with references, restored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from refstar.reference_bank import ReferenceBank
from refstar.utils.errors import RefStarError

from .alignment import FoundFace
from .face_masks import check_regions

IDENTITY_POLICIES = ('warn', 'drop', 'refuse')


@dataclass(frozen=True)
class FaceAttributes:
    """What of an aligned face decides how useful a reference is; None where its points are not known."""

    yaw: float | None  # nose off the middle of the eyes, in eye distances; 0 looks ahead
    pitch: float | None  # height of the nose between eyes and mouth, 0 to 1
    smile: float | None  # width of the mouth in eye distances
    light: np.ndarray  # brightness without its mean, (8, 8), of length 1, 0 outside the face
    sharpness: float  # fine over coarse contrast; most sharp photos have 0.6 or more


@dataclass
class Reference:
    """A clean face of a person."""

    name: str  # of its file, for people
    crop: np.ndarray  # aligned, uint8 (S, S, 3), RGB
    attributes: FaceAttributes
    points: np.ndarray | None = None  # (5, 2), in pixels of the crop; None: not known
    embedding: np.ndarray | None = None  # unit vector of the identity network, None without one
    mask: np.ndarray | None = None  # selection painted by the user, (S, S) in [0, 1]; None: the network selects
    encoded: ReferenceBank | None = None  # features for the network; made when first used


@dataclass
class Person:
    """References of one person, and those that cannot be used with the reasons."""

    name: str
    references: list[Reference]
    dropped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RestoreSettings:
    """How faces are restored.

    Raises:
        RefStarError: a value is out of its range.
    """

    strength: float = 1.0  # of the references, 0 (the backbone alone) to 1
    fidelity: float | None = None  # CodeFormer's w, 0 to 1; None: the backbone's own
    num_refs: int = 4  # most references of a face
    colour: bool = True  # keep the colours of the photo under references of other light
    on_wrong_identity: str = 'warn'  # `warn` (use them), `drop` or `refuse` references that show another person
    use: Sequence[str] = ()  # regions that references may change (`face_masks.REGIONS`); none: all
    keep: Sequence[str] = ()  # regions that references may not change: there the face is the backbone's
    mask_threshold: float | None = None  # the selection is 1 from here up, else 0; None: as the network gives it

    def __post_init__(self) -> None:
        for key in ('strength', 'fidelity', 'mask_threshold'):
            value = getattr(self, key)
            if value is not None and not 0 <= value <= 1:
                raise RefStarError(f'{key} must be 0 to 1, got {value}')
        if self.num_refs < 1:
            raise RefStarError(f'num_refs must be at least 1, got {self.num_refs}')
        if self.on_wrong_identity not in IDENTITY_POLICIES:
            known = ', '.join(IDENTITY_POLICIES)
            raise RefStarError(f'on_wrong_identity is {self.on_wrong_identity!r}; known are {known}')
        check_regions(self.use, 'use')
        check_regions(self.keep, 'keep')

    def edit_masks(self, references: Sequence[Reference] = ()) -> bool:
        """Return whether the settings, or a mask painted by the user, change the network's own selection."""
        painted = any(ref.mask is not None for ref in references)
        return bool(self.use or self.keep or self.mask_threshold is not None or painted)


@dataclass(frozen=True)
class DegradedFace:
    """An aligned face to restore."""

    crop: np.ndarray  # uint8 (S, S, 3), RGB
    attributes: FaceAttributes
    embedding: np.ndarray | None  # unit vector of the identity network, None without one
    found: FoundFace | None = None  # the face in its photo, None for a face that came aligned
    matrix: np.ndarray | None = None  # from the photo to the crop (alignment.py), None likewise


@dataclass(frozen=True)
class ReferenceChoice:
    """A reference and how well it fits a degraded face."""

    reference: Reference
    score: float  # weighted mean of the terms, 0 to 1
    terms: dict[str, float]  # identity, pose, expression, light, sharpness, each 0 to 1, as far as they are known
    similarity: float | None  # cosine of the embeddings, None without an identity network


@dataclass(frozen=True)
class IdentityVerdict:
    """Whether the references show the person of the face; None where nothing was compared."""

    person: str | None = None  # whose references were taken, None if none were
    similarity: float | None = None  # cosine of the face to the mean of the person's references
    threshold: float | None = None  # least cosine of the same person
    same: bool | None = None


@dataclass(frozen=True)
class PreparedFace:
    """A degraded face and the references chosen for it."""

    face: DegradedFace
    chosen: list[ReferenceChoice] = field(default_factory=list)  # n of them, the most useful first
    identity: IdentityVerdict = IdentityVerdict()
    dropped: dict[str, str] = field(default_factory=dict)  # names of references that are not used -> reasons
    notes: list[str] = field(default_factory=list)  # messages for the user

    def with_masks(self, masks: Mapping[str, np.ndarray]) -> 'PreparedFace':
        """Return the same with selections painted by the user: name of a reference -> (S, S) in [0, 1]."""
        chosen = []
        for choice in self.chosen:
            if choice.reference.name in masks:
                reference = replace(choice.reference, mask=masks[choice.reference.name], encoded=None)
                choice = replace(choice, reference=reference)
            chosen.append(choice)
        return replace(self, chosen=chosen)


@dataclass(frozen=True, kw_only=True)
class RestoredFace(PreparedFace):
    """A restored face, with what it was prepared from."""

    image: np.ndarray  # uint8 (S, S, 3), RGB
    mask: np.ndarray  # what was used of each reference, in its own pixels, float32 (n, S, S) in [0, 1]
    attribution: np.ndarray  # share of each reference in every pixel, float32 (n, S, S); the backbone has the rest

    @property
    def before(self) -> np.ndarray:
        """The degraded face, uint8 (S, S, 3), RGB."""
        return self.face.crop
