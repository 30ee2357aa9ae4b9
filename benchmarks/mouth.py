"""What the mouth of an aligned face does: where its corners are, how far the lips are apart, how much teeth shows."""

from dataclasses import dataclass

import cv2
import numpy as np

from refstar.metrics.landmark_metric import landmark_network

TEETH = 0.006  # share of the squared eye distance from which teeth are seen: none of 72 neutral London people has more
LESS_RED, LEAST_LIGHT = 2, 0.7  # of teeth, against the cheeks: 8-bit a of CIELAB, share of L


@dataclass(frozen=True)
class Mouth:
    """A mouth; lengths in eye distances.

    Attributes:
        corners: (2, 2), x and y.
        gap: between the inner lips.
        teeth: area, in squared eye distances.
    """

    corners: np.ndarray
    gap: float
    teeth: float

    def error(self, truth: 'Mouth') -> float:
        """Mean of the distances of the corners and of the difference of the gaps."""
        corners = np.linalg.norm(self.corners - truth.corners, axis=1).mean()
        return float((corners + abs(self.gap - truth.gap)) / 2)

    def adds_teeth(self, truth: 'Mouth') -> bool:
        """Return whether this mouth shows teeth and the true one none."""
        return self.teeth > TEETH >= truth.teeth


def find_mouth(img: np.ndarray) -> Mouth:
    """Measure the mouth of an FFHQ-aligned face, uint8 (S, S, 3), RGB, by the 68 landmarks that ship."""
    points = landmark_network()(img[..., ::-1])
    eyes = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    lab = cv2.cvtColor(img, cv2.COLOR_RGB2LAB).astype(float)
    inside, cheeks = np.zeros(img.shape[:2], np.uint8), np.zeros(img.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.rint(points[60:68] * 8).astype(np.int32)], 1, shift=3)
    for nose, mouth in ((31, 48), (35, 54)):
        middle = (points[nose] + points[mouth]) / 2
        cv2.circle(cheeks, tuple(int(v) for v in middle), max(round(eyes / 20), 1), 1, -1)
    light, red, _ = np.median(lab[cheeks > 0], axis=0)
    teeth = (lab[..., 1] < red - LESS_RED) & (lab[..., 0] > LEAST_LIGHT * light) & (inside > 0)
    gap = np.linalg.norm(points[62] - points[66]) / eyes
    return Mouth(points[[48, 54]] / eyes, float(gap), float(teeth.sum() / eyes**2))
