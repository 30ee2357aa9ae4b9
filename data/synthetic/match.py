"""A rendered photo with its exact maps, and the correspondence and selection between two photos of a person."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from .expression_warp import Warp
from .face import Head, Shot, View


@dataclass
class Photo:
    """A rendered photo with its exact maps; all arrays float32."""

    planes: np.ndarray  # (3, H, W) RGB in [0, 1]
    u: np.ndarray  # (H, W) canonical coordinates of what the pixel shows, where that is face or hair
    v: np.ndarray
    layer: np.ndarray  # (H, W) SCENE / FACE / HAIR
    shot: Shot
    head: Head
    view: View = field(repr=False)
    warp: Warp = field(repr=False)

    @property
    def image(self) -> np.ndarray:
        """The photo as (H, W, 3) RGB in [0, 1]."""
        return cv2.merge(list(self.planes))


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
    from .compiled.match import match

    return match(photo.view, photo.u, photo.v, photo.layer, other.view, other.warp.forward, other.layer)
