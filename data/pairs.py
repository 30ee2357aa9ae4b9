"""Pairs (GT, reference) with their truth: where every point went, and what may be taken from the reference.

A **self-pair** is a photo and its own smooth warp in another light: its flow is known exactly. A **real pair** with
landmarks has the flow that the landmarks give, valid inside the face, and a selection without what is in another
state (mouth, eyes) or turned away. Without landmarks nothing is known of a real pair.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .face_region import conflicts, face_area, fill_hull
from .geometry import area_ratio, fit_positions, invert, returns, smooth_warp, to_flow, to_positions, warp
from .photometric import occlude, relight, soften

TURNED_AWAY = 0.4  # a region that shrinks below this share of its area between the photos is seen too flatly


@dataclass(frozen=True)
class Face:
    """One aligned photo.

    Args:
        img: (S, S, 3), RGB, float32 in [0, 1].
        points: landmarks (K, 2) as shares of the side, or None.
        hidden: (S, S) float32, 1 where something lies before the face, or None.
    """

    img: np.ndarray
    points: np.ndarray | None = None
    hidden: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Side in pixels."""
        return self.img.shape[0]

    @property
    def visible(self) -> np.ndarray:
        """Where nothing is known to lie before the face, (S, S) float32 0/1."""
        return np.ones(self.img.shape[:2], np.float32) if self.hidden is None else 1 - self.hidden

    def mirrored(self) -> 'Face':
        """Return the photo as seen in a mirror; left and right landmarks keep their numbers."""
        return Face(
            cv2.flip(self.img, 1),
            None if self.points is None else np.stack([1 - self.points[:, 0], self.points[:, 1]], 1),
            None if self.hidden is None else np.ascontiguousarray(self.hidden[:, ::-1]),
        )


@dataclass(frozen=True)
class PairedReference:
    """One reference of a sample with its truth; fields as in the samples of the datasets, but (S, S[, c]) arrays.

    Args:
        ref: the reference, (S, S, 3), RGB, float32 in [0, 1].
        known: whether the two masks are the truth.
        ref_mask, gt_mask: what may be taken, on the reference's and on the GT's grid, (S, S) 0/1.
        flow: for every GT pixel the `grid_sample` position in the reference, (S, S, 2).
        flow_valid: where the flow is known and leads to a visible point, (S, S) 0/1.
    """

    ref: np.ndarray
    known: bool
    ref_mask: np.ndarray
    gt_mask: np.ndarray
    flow: np.ndarray
    flow_valid: np.ndarray

    @classmethod
    def without_flow(cls, ref: np.ndarray, known: bool, ref_mask: np.ndarray | None = None) -> 'PairedReference':
        """Make one without correspondence; with `known` and no mask, nothing may be taken from it."""
        zeros = np.zeros(ref.shape[:2], np.float32)
        flow = np.zeros((*ref.shape[:2], 2), np.float32)
        return cls(ref, known, zeros if ref_mask is None else ref_mask, zeros, flow, zeros)


def self_pair(
    gt: Face,
    rng: np.random.Generator,
    warp_strength: float = 1.0,
    light_strength: float = 1.0,
    occlusion_prob: float = 0.0,
    mirror_prob: float = 0.0,
) -> PairedReference:
    """Make a reference with exact flow and masks from the GT itself.

    Args:
        gt: the photo.
        rng: source of every draw.
        warp_strength: see `geometry.smooth_warp`.
        light_strength: see `photometric.relight`.
        occlusion_prob: how often something is painted over the reference (and left out of the masks).
        mirror_prob: how often the reference is mirrored; that teaches that a left eye matches a right one.
    """
    to_gt = smooth_warp(gt.size, rng, warp_strength)
    to_ref = invert(to_gt)
    if rng.random() < mirror_prob:
        to_gt = np.ascontiguousarray(to_gt[:, ::-1])
        to_ref = np.stack([gt.size - 1 - to_ref[..., 0], to_ref[..., 1]], -1)
    ref = soften(relight(warp(gt.img, to_gt).clip(0, 1), rng, light_strength), rng, light_strength)
    shown = np.ones(ref.shape[:2], np.float32)
    if rng.random() < occlusion_prob:
        ref, hidden = occlude(ref, rng)
        shown -= hidden
    area = face_area(gt.points, gt.size) * gt.visible
    ref_area = warp(area, to_gt, smooth=False) * shown
    seen = gt.visible * (warp(shown, to_ref, smooth=False) > 0.999)
    return _connect(ref, to_ref, to_gt, area, ref_area, seen)


def real_pair(gt: Face, ref: Face) -> PairedReference:
    """Pair with another photo of the person; the truth is what landmarks give, without them none."""
    if gt.points is None or ref.points is None or len(gt.points) != len(ref.points):
        return PairedReference.without_flow(ref.img, known=False)
    size = gt.size
    to_ref = fit_positions(gt.points, ref.points, size)
    to_gt = invert(to_ref)
    gt_area, ref_area = (face_area(face.points, size) * face.visible for face in (gt, ref))
    for part, grow in conflicts(gt.points, ref.points):
        gt_area = gt_area * (1 - fill_hull(gt.points[part], size, grow))
        ref_area = ref_area * (1 - fill_hull(ref.points[part], size, grow))
    ratio = area_ratio(to_ref)
    front = ((ratio > TURNED_AWAY) & (ratio < 1 / TURNED_AWAY)).astype(np.float32)
    seen = fill_hull(gt.points, size, 1.05) * front * gt.visible * (warp(ref.visible, to_ref, smooth=False) > 0.999)
    return _connect(ref.img, to_ref, to_gt, gt_area * front, ref_area, seen)


def selected_pair(gt: Face, ref: Face, mask: np.ndarray) -> PairedReference:
    """Pair with a photo and a given selection on its grid, (S, S) 0/1; landmarks, if any, carry it to the GT's."""
    pair = real_pair(gt, ref)
    if not pair.known:
        return PairedReference.without_flow(ref.img, known=True, ref_mask=mask)
    carried = (warp(mask, to_positions(pair.flow), smooth=False) > 0.5) * pair.flow_valid
    return replace(pair, ref_mask=mask, gt_mask=carried)


def _connect(ref, to_ref, to_gt, gt_area, ref_area, seen) -> PairedReference:
    """Pair a reference (S, S, 3) by its position maps: selected is what lies in both areas, found there and back.

    `to_ref`, `to_gt` are (S, S, 2). The areas, each on its own grid, and `seen` (GT grid: where the flow is worth
    teaching) are (S, S) 0/1.
    """
    there = returns(to_ref, to_gt)
    gt_mask = gt_area * (warp(ref_area, to_ref, smooth=False) > 0.5) * there
    ref_mask = ref_area * (warp(gt_area, to_gt, smooth=False) > 0.5) * returns(to_gt, to_ref)
    binary = ((mask > 0.5).astype(np.float32) for mask in (ref_mask, gt_mask))
    return PairedReference(ref, True, *binary, to_flow(to_ref), (seen * there).astype(np.float32))
