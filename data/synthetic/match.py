"""A rendered photo with its exact maps, and the correspondence and selection between two photos of a person."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from .face import Head, Shot, chart_to_disc, head_to_screen, pixel_grid
from .warp import Warp, lookup

SCENE, FACE, HAIR = 0.0, 1.0, -1.0  # what a pixel shows; SCENE is everything that is not the static person
GRAZING = 0.22  # surface seen at a steeper angle than this (cosine) counts as hidden


@dataclass
class Photo:
    """A rendered photo with its exact maps; all arrays float32."""

    planes: np.ndarray  # (3, H, W) RGB in [0, 1]
    u: np.ndarray  # (H, W) canonical coordinates of what the pixel shows
    v: np.ndarray
    layer: np.ndarray  # (H, W) SCENE / FACE / HAIR
    shot: Shot
    head: Head
    warp: Warp = field(repr=False)

    @property
    def image(self) -> np.ndarray:
        """The photo as (H, W, 3) RGB in [0, 1]."""
        return cv2.merge(list(self.planes))


def eye_zone(head: Head, u: np.ndarray, v: np.ndarray, grow: float = 1.3) -> np.ndarray:
    """Whether canonical points of the face belong to an eye (bool)."""
    across = (np.abs(u) - head.eye[0]) * (1 / (grow * head.eye_half[0]))
    down = (v - head.eye[1]) * (1 / (grow * head.eye_half[1]))
    return across * across + down * down < 1.0


def mouth_zone(head: Head, u: np.ndarray, v: np.ndarray, grow: float = 1.2) -> np.ndarray:
    """Whether canonical points of the face belong to the lips (bool)."""
    half, centre, lip = head.mouth
    across, down = u * (1 / (grow * half)), (v - centre) * (1 / (1.9 * lip))
    return across * across + down * down < 1.0


def correspond(photo: Photo, other: Photo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact correspondence from one photo to another photo of the same person.

    Args:
        photo: Whose pixels are asked about.
        other: Where their content is looked for.

    Returns:
        flow: (2, H, W) float32, sampling position (x, y) in ``other`` in grid_sample's convention
            (align_corners=False); the pixel's own position where nothing is known.
        visible: (H, W) bool, the pixel shows a point of the person that ``other`` shows too.
        selected: (H, W) bool, ``visible`` without lips or eyes whose state differs.
    """
    head, u, v, layer = photo.head, photo.u, photo.v, photo.layer
    size = len(layer)
    face = np.abs(layer) + layer
    face *= 0.5  # hair is not displaced
    moved_u, moved_v = other.warp.forward(u, v, face)
    radius = head.hair_radius + face * (1 - head.hair_radius)
    s, t, cosine = chart_to_disc(head, other.shot, moved_u, moved_v, radius)
    x, y = head_to_screen(head, other.shot, s, t)
    half = 0.5 * other.layer.shape[1]
    shown = lookup(other.layer, x * half + (half - 0.5), y * half + (half - 0.5))
    shown *= layer
    visible = (shown > 0.7) & (cosine > GRAZING)  # the same layer lies on top here and there
    flow = pixel_grid(size)[:2].copy()
    np.copyto(flow[0], x, where=visible)
    np.copyto(flow[1], y, where=visible)

    selected = visible.copy()
    ours, theirs = photo.shot, other.shot
    if abs(ours.eyes - theirs.eyes) > 0.1:
        selected &= ~(eye_zone(head, u, v) & (layer > 0))
    if abs(ours.mouth - theirs.mouth) > 0.15:
        selected &= ~(mouth_zone(head, u, v) & (layer > 0))
    return flow, visible, selected
