"""Rendered photos with their exact maps, and the correspondence and selection between two photos of a person."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from .expression_warp import Warp, displacement
from .head_geometry import Head, Projection, Shot, screen_grid

GRAZING = 0.22  # surface seen at a steeper angle than this (cosine) counts as hidden


@dataclass
class Photo:
    """A rendered photo with its exact maps; all arrays float32."""

    planes: np.ndarray  # (3, H, W) RGB in [0, 1]
    u: np.ndarray  # (H, W) canonical coordinates of what the pixel shows, where that is face or hair
    v: np.ndarray
    layer: np.ndarray  # (H, W) SCENE / FACE / HAIR
    shot: Shot
    head: Head
    warp: Warp = field(repr=False)

    @property
    def image(self) -> np.ndarray:
        """The photo as (H, W, 3) RGB in [0, 1]."""
        return cv2.merge(list(self.planes))


def correspond(photo: Photo, other: Photo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the exact correspondence from the pixels of one photo to another photo of the same person.

    Returns:
        flow: (2, H, W) float32, sampling position (x, y) in ``other`` in grid_sample's convention
            (align_corners=False); the pixel's own position where nothing is known.
        visible: (H, W) bool, the pixel shows a point of the person that ``other`` shows too.
        selected: (H, W) bool, ``visible`` without lips or eyes whose state differs.
    """
    u, v, layer = photo.u, photo.v, photo.layer
    is_face = layer > 0
    moved_u, moved_v = (move * is_face for move in displacement(other.warp.forward, u, v))  # hair is not displaced
    radius = np.where(is_face, np.float32(1), np.float32(photo.head.hair_radius))
    projection = Projection(photo.head, other.shot)
    s, t, cosine = projection.chart_to_disc(u + moved_u, v + moved_v, radius)
    x, y = projection.disc_to_screen(s, t)
    columns, rows = (
        (axis + 1) * (0.5 * side) - 0.5 for axis, side in zip((x, y), other.layer.shape[::-1], strict=True)
    )
    shown = layer * cv2.remap(other.layer, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    visible = (shown > 0.7) & (cosine > GRAZING)  # the same layer lies on top here and there
    flow = np.where(visible, np.stack([x, y]), screen_grid(len(layer), len(layer)))

    changed = np.zeros_like(visible)
    (eye_u, eye_v), (half_u, half_v), (mouth_half, mouth_v, lip) = photo.head.eye, photo.head.eye_half, photo.head.mouth
    if abs(photo.shot.eyes - other.shot.eyes) > 0.1:
        changed |= _inside_ellipse(np.abs(u) - eye_u, v - eye_v, 1.3 * half_u, 1.3 * half_v)
    if abs(photo.shot.mouth - other.shot.mouth) > 0.15:
        changed |= _inside_ellipse(u, v - mouth_v, 1.2 * mouth_half, 1.9 * lip)
    return flow, visible, visible & ~(changed & is_face)


def _inside_ellipse(u: np.ndarray, v: np.ndarray, half_u: float, half_v: float) -> np.ndarray:
    across, down = u * (1 / half_u), v * (1 / half_v)
    return across * across + down * down < 1
