"""Propose which regions of a reference may be used for a photo, from the two CLEAN photos alone.

Every pixel of the reference is judged by the weakest of these: it shows the person; what it corresponds to in the other
photo shows the person; structure and colour are alike there. So static texture is in; what differs is out: eyes and
mouth in another state, folds, glasses, things in front of the face, and the side that the other pose hides.

The dense correspondence needs no network: light is taken out (mean and contrast of a neighbourhood), then OpenCV's DIS
optical flow runs. Photos are aligned, so the search starts at "nothing moved", or where landmarks lead. A
forward-backward check is left out: it says no more than whether both ends look alike, and was worse where hair meets
skin.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .face_region import MOUTH, conflicts, face_area, face_oval, fill_hull
from .geometry import area_ratio, fit_positions, inside, pixel_grid, returns, to_flow, unit_grid
from .head_region import hidden_side, person, sigmoid
from .pairs import TURNED_AWAY, Face, PairedReference

SIDE = 256  # photos are compared at this size at most
LIMIT, UNSURE = 4.0, 0.1  # logits: no single judgement counts more, and none of the result is less sure
# lengths below are shares of the photo's side, areas of its area; differences are of `without_light`, squared
REGION = 0.09  # window in which structure is compared as a whole
DIFFERENT = 0.6  # mean difference in such a window from which it is another structure; 2 is chance
DETAIL = 0.03  # window in which single things are compared
CONFLICT, LARGE = 1.0, 0.003  # difference there from which it is another thing, and its least area
MOUTH_CONFLICT, MOUTH_LARGE = 0.3, 0.002  # the same in the mouth's place
GROW, MOUTH_GROW = 0.01, 0.03  # by how much the outline of such a thing is left out too
HOLE = 0.03  # what such a thing encloses (glasses) is out too, up to this area
TINT = 0.38  # difference of the logarithm of colours, brightness aside, from which it is another colour
NEIGHBOURHOOD = 0.06  # standard deviation of the window that light is taken out over
LEAST = 0.0005  # specks and holes of the selection below this area are closed
NOISE = 6 / 255  # contrast below this is not stretched
RETURN = 0.01  # a flow is taught where the way there and back ends this near to the start
CONTRAST = 50  # 8-bit steps of one standard deviation, for DIS


@dataclass(frozen=True)
class Correspondence:
    """Where the pixels of one photo lie in another: (S, S, 2) float32 positions (x, y); (S, S) bool, inside of it."""

    positions: np.ndarray
    inside: np.ndarray

    def fetch(self, img: np.ndarray) -> np.ndarray:
        """Warp the other photo, or a map of it, onto this one's grid."""
        return cv2.remap(img, self.positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def points(self, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points spread over an area ((S, S) bool, not empty), with their match: 6 rows of it, 6 points in each.

        Both are (36, 2), shares of the side.
        """
        steps = (np.arange(6) + 0.5) / 6
        rows = np.quantile(np.nonzero(where)[0], steps, method='nearest')
        here = [(np.quantile(np.flatnonzero(where[row]), steps, method='nearest'), row) for row in rows]
        here = np.concatenate([np.stack([columns, np.full(6, row)], 1) for columns, row in here])
        there = self.positions[here[:, 1], here[:, 0]]
        return tuple(((points + 0.5) / len(where)).astype(np.float32) for points in (here, there))


def without_light(img: np.ndarray) -> np.ndarray:
    """Return brightness of mean 0 and deviation 1 in each neighbourhood; (S, S, 3) RGB in [0, 1] -> (S, S) float32."""
    grey = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY)
    sigma = NEIGHBOURHOOD * len(grey)
    grey = grey - cv2.GaussianBlur(grey, (0, 0), sigma)
    return grey / (np.sqrt(cv2.GaussianBlur(grey * grey, (0, 0), sigma)) + np.float32(NOISE))


def correspond(
    here: np.ndarray, there: np.ndarray, points: tuple[np.ndarray, np.ndarray] | None = None
) -> Correspondence:
    """Find every pixel of one photo in another, given `without_light` of both, (S, S).

    The search starts from the same landmarks in both, (K, 2) each, shares of the side.
    """
    size = len(here)
    images = [cv2.convertScaleAbs(grey * CONTRAST + 128) for grey in (here, there)]
    start = None if points is None else fit_positions(*points, size) - pixel_grid(size)
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*images, start)
    positions = pixel_grid(size) + flow
    return Correspondence(positions, inside(positions))


@dataclass(frozen=True)
class Proposal:
    """A proposed selection.

    Args:
        probability: (S, S) float32 in [0, 1], in the reference's coordinates; selected is what exceeds 0.5.
        likeness: mean of exp(-difference) of structure inside the face, in [0, 1]; 1 is the same photo.
        points: (n, 2) points of the selection in the reference, and the same in the ground truth; shares of the side,
            n is 36, or 0 where nothing is selected.
    """

    probability: np.ndarray
    likeness: float
    points: tuple[np.ndarray, np.ndarray]

    @property
    def confidence(self) -> float:
        """How good it is likely to be, in [0, 1]: likeness of the faces, times the sureness of the pixels.

        Sureness is the expected IoU with the truth if every pixel's probability is right, and independent.
        """
        mask = self.probability > 0.5
        rest = self.probability[~mask].sum()
        return float(self.probability[mask].sum() / max(mask.sum() + rest, 1e-6)) * self.likeness


def propose(gt: Face, ref: Face) -> Proposal:
    """Propose a selection for two clean aligned photos of one person, of one size; what their `hidden` covers is out.

    With 68 landmarks of both, the selection is kept to the face, and the states of eyes and mouth and the side turned
    away are measured.
    """
    size = min(ref.size, SIDE)
    here, there = (_resized(face.img, size) for face in (ref, gt))
    points = None
    if gt.points is not None and ref.points is not None and len(gt.points) == len(ref.points) == 68:
        points = ref.points, gt.points
    light = [without_light(img) for img in (here, there)]
    match = correspond(*light, points)
    difference = (light[0] - match.fetch(light[1])) ** 2
    structure = cv2.blur(difference, _window(REGION, size))
    shown = person(here)
    logits = [
        shown,
        match.fetch(person(there)),
        np.log(DIFFERENT / (structure + np.float32(0.01))),
        10 * (TINT - _tint(here, there, match)),
    ]
    logit = cv2.blur(np.minimum.reduce([np.clip(x, -LIMIT, LIMIT) for x in logits]), (5, 5))
    out = ~match.inside | _other_things(difference, points)
    out |= hidden_side(sigmoid(np.clip(shown, -LIMIT, LIMIT)), match.positions, np.exp(-structure))
    out |= _resized(ref.visible, size) < 0.5
    out |= match.fetch(_resized(gt.visible, size)) < 0.5
    if points is not None:
        out |= _outside_face(ref.points, gt.points, match)
    mask = without_specks((logit > 0) & ~out, LEAST)
    logit = np.where(mask, np.maximum(logit, UNSURE), np.where(out, -LIMIT, np.minimum(logit, -UNSURE)))
    likeness = float(np.exp(-structure)[face_oval(size) > 0].mean())
    matched = match.points(mask) if mask.any() else (np.empty((0, 2), np.float32),) * 2
    return Proposal(_resized(sigmoid(logit), ref.size), likeness, matched)


def proposed_pair(gt: Face, ref: Face) -> PairedReference:
    """Pair two clean photos of one person; the truth is the proposal, and the optical flow where it selects."""
    mask = (propose(gt, ref).probability > 0.5).astype(np.float32)
    points = None if gt.points is None or ref.points is None else (gt.points, ref.points)
    here, there = without_light(gt.img), without_light(ref.img)
    to_ref = correspond(here, there, points)
    to_gt = correspond(there, here, points and points[::-1])
    carried = (to_ref.fetch(mask) > 0.5) & returns(to_ref.positions, to_gt.positions, RETURN * gt.size)
    carried = carried.astype(np.float32)
    return PairedReference(ref.img, True, mask, carried, to_flow(to_ref.positions), carried)


def without_specks(mask: np.ndarray, least: float) -> np.ndarray:
    """Remove islands and close holes of less than a share of the picture; (S, S) bool."""
    for keep in (True, False):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((mask == keep).astype(np.uint8), connectivity=4)
        small = stats[:, cv2.CC_STAT_AREA] < least * mask.size
        small[0] = False
        mask = np.where(small[labels], not keep, mask)
    return mask


def _resized(field: np.ndarray, size: int) -> np.ndarray:
    if len(field) == size:
        return field
    mode = cv2.INTER_AREA if len(field) > size else cv2.INTER_LINEAR
    return cv2.resize(field.astype(np.float32), (size, size), interpolation=mode)


def _window(share: float, size: int) -> tuple[int, int]:
    """Return an odd window."""
    side = 2 * round(share * size / 2) + 1
    return side, side


def _tint(here: np.ndarray, there: np.ndarray, match: Correspondence) -> np.ndarray:
    """Return the difference of colour, brightness and the light's own colour aside, (S, S)."""
    logs = [np.log(cv2.GaussianBlur(img, (0, 0), 0.012 * len(img)) + np.float32(0.03)) for img in (here, there)]
    ratio = logs[0] - match.fetch(logs[1])
    ratio -= np.median(ratio[face_oval(len(here)) > 0], axis=0)
    ratio -= ratio.mean(-1, keepdims=True)
    return np.sqrt((ratio * ratio).sum(-1))


def _outside_face(ref: np.ndarray, gt: np.ndarray, match: Correspondence) -> np.ndarray:
    """Find by 68 landmarks what is no face in one of the photos, turned away, or eyes and mouth in another state."""
    size = len(match.positions)
    out = (face_area(ref, size) == 0) | (match.fetch(face_area(gt, size)) < 0.5)
    ratio = area_ratio(fit_positions(ref, gt, size))
    out |= (ratio < TURNED_AWAY) | (ratio > 1 / TURNED_AWAY)
    for part, grow in conflicts(gt, ref):
        out |= fill_hull(ref[part], size, grow) > 0
    return out


def _other_things(difference: np.ndarray, points: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Find what is so different in detail that it is another thing, with what it encloses, (S, S) bool."""
    size = len(difference)
    detail = cv2.blur(difference, _window(DETAIL, size))
    things = _grown(without_specks(detail > CONFLICT, LARGE), GROW)
    changed = without_specks((detail > MOUTH_CONFLICT) & _mouth(points, size), MOUTH_LARGE)
    things |= _grown(changed, MOUTH_GROW)
    if points is not None and changed.any():
        things |= _mouth(points, size)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~things).astype(np.uint8), connectivity=4)
    enclosed = stats[:, cv2.CC_STAT_AREA] < HOLE * things.size
    enclosed[0] = False
    return things | enclosed[labels]


def _mouth(points: tuple[np.ndarray, np.ndarray] | None, size: int) -> np.ndarray:
    """Find the reference's mouth; without landmarks, where it can be in an aligned photo."""
    if points is not None:
        return fill_hull(points[0][MOUTH], size, 1.2) > 0
    x, y = cv2.split(unit_grid(size))
    return (np.abs(x) < 0.28) & (y > 0.3) & (y < 0.85)


def _grown(mask: np.ndarray, share: float) -> np.ndarray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, _window(2 * share, len(mask)))
    return cv2.dilate(mask.astype(np.uint8), disc) > 0
