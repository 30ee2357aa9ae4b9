"""Find a dense correspondence between two clean photos of a person, without any network.

Light is taken out first (mean and contrast of a neighbourhood), then OpenCV's DIS optical flow runs. Photos are
aligned, so the search starts at "nothing moved", or where landmarks lead. A forward-backward check is left out: it says
no more than whether both ends look alike, and was worse where hair meets skin.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from refstar.data.geometry import inside, pixel_grid
from refstar.data.landmarks import fit_positions

NEIGHBOURHOOD = 0.06  # standard deviation of the window that light is taken out over, of the side
NOISE = 6 / 255  # contrast below this is not stretched
CONTRAST = 50  # 8-bit steps of one standard deviation, for DIS


@dataclass(frozen=True)
class Correspondence:
    """Where the pixels of one photo lie in another one.

    Args:
        positions: (S, S, 2) float32, pixel (x, y) in the other photo.
        inside: (S, S) bool, the position lies in the other photo.
    """

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
    """Find every pixel of one photo in another.

    Args:
        here, there: `without_light` of both photos, (S, S).
        points: the same landmarks in both, (K, 2) each, shares of the side; the search starts from them.
    """
    size = len(here)
    images = [cv2.convertScaleAbs(grey * CONTRAST + 128) for grey in (here, there)]
    start = None if points is None else fit_positions(*points, size) - pixel_grid(size)
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*images, start)
    positions = pixel_grid(size) + flow
    return Correspondence(positions, inside(positions))
