"""What of an aligned face decides how useful a reference is: pose, expression, light, sharpness."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from refstar.data.face_region import face_oval

SIDE = 256  # at which larger faces are measured
LIGHT = 8  # side of the light map
SHARP = 0.6  # what most sharp photos reach, see `sharpness_of`


@dataclass(frozen=True)
class Traits:
    """Of one aligned face.

    Args:
        yaw: nose off the middle of the eyes, in eye distances; 0 looks ahead. None where no points are known.
        pitch: height of the nose between eyes and mouth, 0 to 1.
        smile: width of the mouth in eye distances.
        light: brightness without its mean, (LIGHT, LIGHT), of length 1, 0 outside the face.
        sharpness: fine over coarse contrast; a sharp photo has about `SHARP`.
    """

    yaw: float | None
    pitch: float | None
    smile: float | None
    light: np.ndarray
    sharpness: float


def traits_of(crop: np.ndarray, points: np.ndarray | None) -> Traits:
    """Measures an aligned face.

    Args:
        crop: uint8 (S, S, 3), RGB.
        points: its five points in pixels of the crop, (5, 2); None: not known.
    """
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
    return Traits(yaw, pitch, smile, light_of(grey), sharpness_of(grey))


def light_of(grey: np.ndarray) -> np.ndarray:
    """How light falls on the face, (LIGHT, LIGHT): brightness without mean and contrast, inside the face."""
    oval = face_oval(len(grey))
    cells = cv2.resize(grey * oval, (LIGHT, LIGHT), interpolation=cv2.INTER_AREA)
    share = cv2.resize(oval, (LIGHT, LIGHT), interpolation=cv2.INTER_AREA)
    inside = share > 0.5
    light = np.where(inside, cells / np.maximum(share, 1e-6), 0)
    light = np.where(inside, light - light[inside].mean(), 0)
    return (light / max(float(np.linalg.norm(light)), 1e-6)).astype(np.float32)


def sharpness_of(grey: np.ndarray) -> float:
    """Contrast of the finest details over that of details four times as large, inside the face; noise adds to it."""
    inside = face_oval(len(grey)) > 0
    blurred = [grey, *(cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1.0, 2.0, 4.0))]
    fine, _, coarse = (float((a - b)[inside].std()) for a, b in pairwise(blurred))
    return fine / max(coarse, 1e-3)


def usefulness(lq: Traits, ref: Traits) -> dict[str, float]:
    """How well a reference fits a degraded photo, each from 0 to 1; what is not known of either is left out."""
    found = {
        'light': float((1 + (lq.light * ref.light).sum()) / 2),
        'sharpness': min(1.0, ref.sharpness / SHARP),
    }
    if lq.yaw is not None and ref.yaw is not None:
        turned = ((lq.yaw - ref.yaw) / 0.15) ** 2 + ((lq.pitch - ref.pitch) / 0.12) ** 2
        found['pose'] = float(np.exp(-turned / 2))
        found['expression'] = float(np.exp(-(((lq.smile - ref.smile) / 0.15) ** 2) / 2))
    return found
