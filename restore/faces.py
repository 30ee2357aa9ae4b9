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
    """What of an aligned face decides how useful a reference is; see `reference_choice.measure_attributes`.

    Args:
        yaw: nose off the middle of the eyes, in eye distances; 0 looks ahead. None where no points are known.
        pitch: height of the nose between eyes and mouth, 0 to 1.
        smile: width of the mouth in eye distances.
        light: brightness without its mean, (8, 8), of length 1, 0 outside the face.
        sharpness: fine over coarse contrast; most sharp photos have 0.6 or more.
    """

    yaw: float | None
    pitch: float | None
    smile: float | None
    light: np.ndarray
    sharpness: float


@dataclass
class Reference:
    """A clean face of a person.

    Args:
        name: of its file, for people.
        crop: aligned, uint8 (S, S, 3), RGB.
        attributes: what was measured of it.
        points: five points in pixels of the crop, (5, 2); None: not known.
        embedding: unit vector of the identity network, None without one.
        mask: selection painted by the user, (S, S) in [0, 1]; None: the network selects.
        encoded: its features for the network; made when first used.
    """

    name: str
    crop: np.ndarray
    attributes: FaceAttributes
    points: np.ndarray | None = None
    embedding: np.ndarray | None = None
    mask: np.ndarray | None = None
    encoded: ReferenceBank | None = None


@dataclass
class Person:
    """Photos of one person.

    Args:
        name: for people.
        references: usable ones.
        dropped: names of unusable ones -> reasons.
    """

    name: str
    references: list[Reference]
    dropped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RestoreSettings:
    """How faces are restored.

    Args:
        strength: of the references, 0 (the backbone alone) to 1.
        fidelity: CodeFormer's w, 0 to 1; None: the backbone's own.
        num_refs: most references of a face.
        colour: keep the colours of the photo under references of other light.
        on_wrong_identity: `warn` (use them), `drop` or `refuse` references that are likely of another person.
        use: regions that references may change (`face_masks.REGIONS`); none: all.
        keep: regions that references may not change: there the face is the backbone's.
        mask_threshold: the selection is 1 from here up, else 0; None: as the network gives it.

    Raises:
        RefStarError: a value is out of its range.
    """

    strength: float = 1.0
    fidelity: float | None = None
    num_refs: int = 4
    colour: bool = True
    on_wrong_identity: str = 'warn'
    use: Sequence[str] = ()
    keep: Sequence[str] = ()
    mask_threshold: float | None = None

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
    """An aligned face to restore.

    Args:
        crop: uint8 (S, S, 3), RGB.
        attributes: what was measured of it.
        embedding: unit vector of the identity network, None without one.
        found: the face in its photo, None for a face that came aligned.
        matrix: from the photo to the crop, see :mod:`~refstar.restore.alignment`; None likewise.
    """

    crop: np.ndarray
    attributes: FaceAttributes
    embedding: np.ndarray | None
    found: FoundFace | None = None
    matrix: np.ndarray | None = None


@dataclass(frozen=True)
class ReferenceChoice:
    """A reference and how well it fits a degraded face.

    Args:
        reference: the reference.
        score: weighted mean of the terms, 0 to 1.
        terms: identity, pose, expression, light, sharpness, each 0 to 1; unknown ones are left out.
        similarity: cosine of the embeddings, None without an identity network.
    """

    reference: Reference
    score: float
    terms: dict[str, float]
    similarity: float | None


@dataclass(frozen=True)
class IdentityVerdict:
    """Whether the references show the person of the face.

    Args:
        person: name of the person whose references were taken, None if none were.
        similarity: cosine of the face to the mean of the person's references, None if nothing was compared.
        threshold: least cosine of the same person, None likewise.
        same: the verdict, None likewise.
    """

    person: str | None = None
    similarity: float | None = None
    threshold: float | None = None
    same: bool | None = None


@dataclass(frozen=True)
class PreparedFace:
    """A degraded face and the references chosen for it.

    Args:
        face: the degraded face.
        chosen: its n references, the most useful first.
        identity: whether they show the same person.
        dropped: names of references that are not used -> reasons.
        notes: messages for the user.
    """

    face: DegradedFace
    chosen: list[ReferenceChoice] = field(default_factory=list)
    identity: IdentityVerdict = IdentityVerdict()
    dropped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

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
    """A restored face, with what it was prepared from.

    Args:
        image: uint8 (S, S, 3), RGB.
        mask: what was used of each reference, in the reference's own pixels, float32 (n, S, S) in [0, 1].
        attribution: share of each reference in every pixel of `image`, float32 (n, S, S) in [0, 1]; the rest to 1 is
            the backbone's.
    """

    image: np.ndarray
    mask: np.ndarray
    attribution: np.ndarray

    @property
    def before(self) -> np.ndarray:
        """The degraded face, uint8 (S, S, 3), RGB."""
        return self.face.crop
