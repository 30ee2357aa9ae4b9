"""Landmark distance (LMD) between a restored face and the ground truth, in pixels."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from refstar.dlib_face_arch import LandmarkNet68
from refstar.utils.checkpoint import load_fitting, read_state_dict
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import require_same_shape
from refstar.utils.released_weights import resolve

DEFAULT = 'landmarks_68'  # ships
SPREAD = 0.07  # of the eye distance: a larger one of `MedianPoints` is no clear face
# What LandmarkNet68 sees: squares, by their middle (down) and side, as shares of an FFHQ-aligned photo's side.
SQUARES = ((0.60, 0.66), (0.61, 0.70), (0.62, 0.74))
INPUT = 112  # pixels
# The number of each of the 68 points in the mirror image.
PAIRS = [(i, 16 - i) for i in range(8)] + [(17 + i, 26 - i) for i in range(5)]
PAIRS += [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
PAIRS += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
MIRRORED = np.arange(68)
for left, right in PAIRS:
    MIRRORED[[left, right]] = right, left


class FanPoints:
    """Find 98 points by facexlib's AWing FAN (`alignment_WFLW_4HG.pth`): whole photo at 256, as in VQFR and PMRF."""

    name = 'AWing FAN, 98 points'

    def __init__(self, weights: str, device: str = 'cpu') -> None:
        from facexlib.alignment.awing_arch import FAN

        net = FAN(num_modules=4, num_landmarks=98, device=device)
        self.net = load_fitting(net, read_state_dict(weights, 'landmark network'), weights).eval().to(device)

    @torch.no_grad()
    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Find the points of uint8 (H, W, 3) BGR: (98, 2) in pixels."""
        try:
            return self.net.get_landmarks(img)
        except IndexError:  # facexlib reads the neighbours of a maximum on the map's very edge
            raise RefStarError('landmarks: a point lies on the edge of the photo') from None


class MedianPoints:
    """Find 68 points by :class:`~refstar.dlib_face_arch.LandmarkNet68`: the median over squares, mirrored and not."""

    name = 'face-api, 68 points'

    def __init__(self, weights: str, device: str = 'cpu') -> None:
        state = read_state_dict(weights, 'landmark network')
        self.net = load_fitting(LandmarkNet68(), state, weights).eval().to(device)
        self.device = device

    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Find the points of uint8 (H, H, 3) BGR, FFHQ-aligned: (68, 2) in pixels."""
        return self.measure(img)[0] * len(img) - 0.5

    def measure(self, img: np.ndarray) -> tuple[np.ndarray, float]:
        """Find the points of uint8 (H, H, 3) BGR: (68, 2), shares of the side; and the spread, of the eye distance."""
        rgb = img[..., ::-1]
        single = [self._find(np.ascontiguousarray(rgb), *square) for square in SQUARES]
        for square in SQUARES:
            points = self._find(np.ascontiguousarray(rgb[:, ::-1]), *square)[MIRRORED]
            single.append(np.stack([1 - points[:, 0], points[:, 1]], 1))
        middle = np.median(single, axis=0)
        eyes = np.linalg.norm(middle[36:42].mean(0) - middle[42:48].mean(0))
        return middle, float(np.linalg.norm(single - middle, axis=-1).mean() / eyes)

    @torch.no_grad()
    def _find(self, rgb: np.ndarray, middle: float, side: float) -> np.ndarray:
        over = 2 if side * len(rgb) / 2 > INPUT else 1  # averaged where the photo has more pixels
        crop = cut_square(rgb, middle, side, INPUT * over)
        crop = cv2.resize(crop, (INPUT, INPUT), interpolation=cv2.INTER_AREA)
        x = torch.from_numpy(crop).to(self.device).permute(2, 0, 1)[None] / 127.5 - 1
        return (self.net(x)[0].cpu().numpy() - 0.5) * side + [0.5, middle]


def cut_square(img: np.ndarray, middle: float, side: float, size: int) -> np.ndarray:
    """Cut a square out of an aligned photo (H, H, 3), given as shares of its side; mirrored beyond the edge."""
    scale = size / (side * len(img))
    matrix = np.array([[scale, 0, 0], [0, scale, 0]])
    matrix[:, 2] = size / 2 - 0.5 - scale * (np.array([0.5, middle]) * len(img) - 0.5)
    return cv2.warpAffine(img, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


@lru_cache(maxsize=2)
def landmark_network(weights: str = DEFAULT, device: str = 'cpu') -> FanPoints | MedianPoints:
    """Load a network by its file or its name: of `.safetensors` :class:`MedianPoints`, else :class:`FanPoints`.

    One per file and device is kept.

    Raises:
        RefStarError: the file is missing or of another network.
    """
    path = Path(resolve(weights))
    if not path.is_file():
        raise RefStarError(f'landmark network: {path}: no such file')
    return (MedianPoints if path.suffix.lower() == '.safetensors' else FanPoints)(str(path), device)


def mean_distance(points: np.ndarray, others: np.ndarray) -> float:
    """Average the Euclidean distances of points (n, 2) to others (n, 2)."""
    return float(np.linalg.norm(points - others, axis=1).mean())


@METRIC_REGISTRY.register()
def calculate_lmd(img: np.ndarray, img2: np.ndarray, weights: str = DEFAULT, device: str = 'cpu', **kwargs) -> float:
    """Compute the mean distance of the landmarks of output and ground truth, in their pixels (lower is better).

    Args:
        img, img2 (ndarray): uint8 (H, W, 3) BGR in [0, 255].
        weights (str): file of the landmark network, or a name of `refstar weights list`. Default: the one that ships.

    Raises:
        RefStarError: the sizes differ, or the file is of another network.
    """
    require_same_shape(img, img2)
    points = landmark_network(weights, device)
    return mean_distance(points(img), points(img2))
