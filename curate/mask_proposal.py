"""Propose which regions of a reference may be used for a photo, from the two CLEAN photos alone.

Every pixel of the reference is judged by the weakest of these: it shows the person; what it corresponds to in the other
photo shows the person; structure and colour are alike there. So static texture is in; what differs is out: eyes and
mouth in another state, folds, glasses, things in front of the face, and the side that the other pose hides.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from refstar.data.face_region import MOUTH, conflicts, face_area, face_oval, fill_hull
from refstar.data.geometry import area_ratio, unit_grid
from refstar.data.landmarks import fit_positions
from refstar.data.pairs import TURNED_AWAY, Face

from .head_region import hidden_side, person, sigmoid
from .optical_flow import Correspondence, correspond, without_light

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
LEAST = 0.0005  # specks and holes of the selection below this area are closed


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


def propose(gt: Face, ref: Face) -> Proposal:
    """Propose a selection for two aligned photos of one person.

    Args:
        gt: the clean ground truth; what its `hidden` covers is out.
        ref: the reference, of the same size; likewise. With 68 landmarks of both, the selection is kept to the face,
            and the states of eyes and mouth and the side turned away are measured.
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
