"""Settings of a restoration, references, and a face on its way to be restored."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import cv2
import numpy as np

from refstar.data.face_region import face_oval
from refstar.reference_bank import ReferenceBank
from refstar.utils.errors import RefStarError

from .alignment import FoundFace
from .face_masks import check_regions

UNSURE = 0.3  # share of the doubt at which a reference is left out from which a warning is given
AMONG = 0.6  # of several people: a smaller share is a doubt
POLICIES = {'on_wrong_identity': ('warn', 'drop', 'refuse'), 'unmatched': ('leave', 'restore')}
SIDE = 256  # pixels: larger faces are measured at this size
LIGHT_SIDE = 8  # side of the light map
SHARP = 0.6  # sharpness that most sharp photos reach, see `measure_sharpness`
ONE_TINT = 9.0  # 8-bit steps off its tint that hardly a pixel of a sepia JPEG has, and many of any colour photo have


@dataclass(frozen=True)
class FaceAttributes:
    """What of an aligned face decides how useful a reference is; None where its points are not known."""

    yaw: float | None  # nose off the middle of the eyes, in eye distances; 0 looks ahead
    pitch: float | None  # height of the nose between eyes and mouth, 0 to 1
    smile: float | None  # width of the mouth in eye distances
    light: np.ndarray  # brightness without its mean, (8, 8), of length 1, 0 outside the face
    sharpness: float  # fine over coarse contrast; most sharp photos have 0.6 or more

    @classmethod
    def measure(cls, crop: np.ndarray, points: np.ndarray | None) -> 'FaceAttributes':
        """Measure an aligned face, uint8 (S, S, 3), RGB, with its five points in pixels of the crop, if known."""
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        if len(grey) > SIDE:
            grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        grey = grey.astype(np.float32)
        yaw = pitch = smile = None
        if points is not None:
            eyes, mouth = points[:2].mean(0), points[3:].mean(0)
            apart = max(float(np.linalg.norm(points[1] - points[0])), 1e-6)
            across, down = (points[1] - points[0]) / apart, mouth - eyes
            nose = points[2] - eyes
            yaw = float(nose @ across / apart)
            pitch = float(nose @ down / max(down @ down, 1e-6))
            smile = float(np.linalg.norm(points[4] - points[3]) / apart)
        return cls(yaw, pitch, smile, measure_light(grey), measure_sharpness(grey))

    def fit_of(self, ref: 'FaceAttributes') -> dict[str, float]:
        """Return how well a reference fits this degraded face: terms from 0 to 1, without those that are not known."""
        terms = {'light': float((1 + (self.light * ref.light).sum()) / 2)}
        terms['sharpness'] = min(1.0, ref.sharpness / SHARP)
        if self.yaw is not None and ref.yaw is not None:
            turned = ((self.yaw - ref.yaw) / 0.15) ** 2 + ((self.pitch - ref.pitch) / 0.12) ** 2
            terms['pose'] = float(np.exp(-turned / 2))
            terms['expression'] = float(np.exp(-(((self.smile - ref.smile) / 0.15) ** 2) / 2))
        return terms


def measure_light(grey: np.ndarray) -> np.ndarray:
    """Return the brightness of the face without mean and contrast, (LIGHT_SIDE, LIGHT_SIDE)."""
    oval = face_oval(len(grey))
    side = (LIGHT_SIDE, LIGHT_SIDE)
    cells = cv2.resize(grey * oval, side, interpolation=cv2.INTER_AREA)
    share = cv2.resize(oval, side, interpolation=cv2.INTER_AREA)
    inside = share > 0.5
    light = np.where(inside, cells / np.maximum(share, 1e-6), 0)
    light = np.where(inside, light - light[inside].mean(), 0)
    return (light / max(float(np.linalg.norm(light)), 1e-6)).astype(np.float32)


def measure_sharpness(grey: np.ndarray) -> float:
    """Return the contrast of the finest details over that of details four times as large; noise adds to it."""
    inside = face_oval(len(grey)) > 0
    blurred = [grey, *(cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1.0, 2.0, 4.0))]
    fine, _, coarse = (float((a - b)[inside].std()) for a, b in pairwise(blurred))
    return fine / max(coarse, 1e-3)


def measure_tint(rgb: np.ndarray) -> np.ndarray | None:
    """Return the colour of every level (mean of R, G, B) of a photo in one tint, grey or sepia: float32 (256, 3).

    None for a photo, uint8 (H, W, 3), of other colours: one level has several.
    """
    shrink = min(1, SIDE / 2 / max(rgb.shape[:2]))
    size = [max(1, round(side * shrink)) for side in rgb.shape[1::-1]]
    pixels = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    level = np.rint(pixels.mean(1)).astype(int)
    columns = [np.ones(len(pixels)), *(pixels - level[:, None]).T]
    sums = np.stack([np.bincount(level, column, 256) for column in columns], 1)
    sums = cv2.GaussianBlur(sums, (1, 17), 0, sigmaY=2, borderType=cv2.BORDER_CONSTANT)
    known = np.flatnonzero(sums[:, 0] > 1e-6)
    offset = np.stack([np.interp(range(256), known, sums[known, i] / sums[known, 0]) for i in (1, 2, 3)], 1)
    off = np.abs(pixels - level[:, None] - offset[level]).max(1)
    return None if np.percentile(off, 98) > ONE_TINT else (np.arange(256)[:, None] + offset).astype(np.float32)


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
    steps: int | None = None  # of FlowRestorer, 0 (the mean) or more; None: the network's own
    seed: int | None = None  # of FlowRestorer's noise; None: 0
    num_refs: int = 4  # most references of a face
    colour: bool = True  # keep the colours of the photo under references of other light
    on_wrong_identity: str = 'drop'  # `drop`, `warn` (use them) or `refuse` references that likely show a stranger
    unmatched: str = 'leave'  # of several faces those like nobody of the references: `leave` or `restore` without any
    use: Sequence[str] = ()  # regions that references may change (`face_masks.REGIONS`); none: all
    keep: Sequence[str] = ()  # regions that references may not change: there the face is the backbone's
    mask_threshold: float | None = None  # the selection is 1 from here up, else 0; None: as the network gives it

    def __post_init__(self) -> None:
        for key in ('strength', 'fidelity', 'mask_threshold'):
            value = getattr(self, key)
            if value is not None and not 0 <= value <= 1:
                raise RefStarError(f'{key} must be 0 to 1, got {value}')
        for key in ('steps', 'seed'):
            value = getattr(self, key)
            if value is not None and value < 0:
                raise RefStarError(f'{key} must be 0 or more, got {value}')
        if self.num_refs < 1:
            raise RefStarError(f'num_refs must be at least 1, got {self.num_refs}')
        for key, known in POLICIES.items():
            if getattr(self, key) not in known:
                raise RefStarError(f'{key} is {getattr(self, key)!r}; known are {", ".join(known)}')
        check_regions(self.use, 'use')
        check_regions(self.keep, 'keep')

    def edit_masks(self, references: Sequence[Reference] = ()) -> bool:
        """Return whether the settings, or a mask painted by the user, change the network's own selection."""
        painted = any(ref.mask is not None for ref in references)
        return bool(self.use or self.keep or self.mask_threshold is not None or painted)


# Settings of some backbones: field -> the backbone's argument, and who has it.
CONTROLS = {'fidelity': ('w', 'CodeFormer'), 'steps': ('steps', 'FlowRestorer'), 'seed': ('seed', 'FlowRestorer')}


def check_controls(settings: RestoreSettings, taken: Container[str], backbone: str) -> None:
    """Raise RefStarError if settings ask for a control that is not among the arguments that a backbone takes."""
    for name, (argument, owner) in CONTROLS.items():
        if getattr(settings, name) is not None and argument not in taken:
            raise RefStarError(f'{name}: {backbone} has no such control ({owner} has)')


@dataclass(frozen=True)
class ReferenceChoice:
    """A reference and how well it fits a degraded face."""

    reference: Reference
    score: float  # weighted mean of the terms, 0 to 1
    terms: dict[str, float]  # identity, pose, expression, light, sharpness, each 0 to 1, as far as they are known
    similarity: float | None  # cosine of the embeddings, None without an identity network

    @property
    def why(self) -> str:
        """The score and its terms as text."""
        return f'{self.score:.2f} ({", ".join(f"{key} {value:.2f}" for key, value in self.terms.items())})'


@dataclass(frozen=True)
class IdentityVerdict:
    """Whether the references show the person of the face; None where nothing was compared."""

    person: str | None = None  # whose references were taken, None if none were
    similarity: float | None = None  # cosine of the face to the mean of the person's references
    probability: float | None = None  # that they show the same person, 0 to 1
    least: float = 0  # below which probability references are left out
    among: float = 1  # probability that it is this person, of all people of the references or none of them

    @property
    def stranger(self) -> bool:
        """Likely somebody else: left out."""
        return self.probability is not None and self.probability < self.least

    @property
    def unsure(self) -> bool:
        """To be used with a warning."""
        if self.probability is None or self.stranger:
            return False
        return 1 - self.probability > UNSURE * (1 - self.least) or self.among < AMONG

    @property
    def same(self) -> bool | None:
        """More likely the same person than not."""
        return None if self.probability is None else self.probability >= 0.5


@dataclass(frozen=True)
class AlignedFace:
    """A face to restore: `Restorer.find_faces` cuts it out, `prepare` chooses its references, `restore` restores it."""

    crop: np.ndarray  # aligned, as it was, uint8 (S, S, 3), RGB
    attributes: FaceAttributes
    points: np.ndarray | None = None  # (5, 2), in pixels of the crop; None: not known
    embedding: np.ndarray | None = None  # as of `IdentityChecker.embed`, None without an identity network
    found: FoundFace | None = None  # the face in its photo, None for a face that came aligned
    matrix: np.ndarray | None = None  # from the photo to the crop (alignment.py), None likewise
    side: float = 0  # of the crop in pixels of the photo
    tint: np.ndarray | None = None  # of its photo, as of `measure_tint`
    base: np.ndarray | None = None  # the same crop as another restorer made it, uint8 (S, S, 3), RGB
    # Once it is prepared.
    chosen: list[ReferenceChoice] = field(default_factory=list)  # n of them, the most useful first
    identity: IdentityVerdict = IdentityVerdict()
    dropped: dict[str, str] = field(default_factory=dict)  # names of references that are not used -> reasons
    leave: bool = False  # stays as it was
    notes: list[str] = field(default_factory=list)  # messages for the user
    # Once it is restored.
    image: np.ndarray | None = None  # uint8 (S, S, 3), RGB
    mask: np.ndarray | None = None  # what was used of each reference, in its own pixels, float32 (n, S, S) in [0, 1]
    attribution: np.ndarray | None = None  # share of each reference in every pixel, float32 (n, S, S)

    @property
    def references(self) -> list[Reference]:
        """The chosen references, the most useful first."""
        return [choice.reference for choice in self.chosen]

    def coloured(self, image: np.ndarray) -> np.ndarray:
        """Return a picture of the face, uint8 (S, S, 3), in the tint of its photo, if that has one."""
        if self.tint is None:
            return image
        return np.rint(self.tint[np.rint(image.mean(2)).astype(int)]).clip(0, 255).astype(np.uint8)

    def with_masks(self, masks: Mapping[str, np.ndarray]) -> 'AlignedFace':
        """Return the same with selections painted by the user: name of a reference -> (S, S) in [0, 1]."""
        chosen = []
        for choice in self.chosen:
            if choice.reference.name in masks:
                reference = replace(choice.reference, mask=masks[choice.reference.name], encoded=None)
                choice = replace(choice, reference=reference)
            chosen.append(choice)
        return replace(self, chosen=chosen)
