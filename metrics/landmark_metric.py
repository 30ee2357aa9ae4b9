"""Landmark distance (LMD) between a restored face and the ground truth, in pixels."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from refstar.utils.checkpoint import load_fitting, read_state_dict
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import require_same_shape

# PFLD and its kin see a square of the face: its middle (down) and side, as shares of an FFHQ-aligned photo's side.
MIDDLE, SIDE, INPUT = 0.575, 0.66, 112


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


class OnnxPoints:
    """Find 68 points by an ONNX file, in a crop of 112 pixels, BGR in [0, 1] (PFLD)."""

    name = 'ONNX, 68 points'

    def __init__(self, weights: str) -> None:
        try:
            self.net = cv2.dnn.readNetFromONNX(str(weights))
        except cv2.error as error:
            raise RefStarError(f'landmark network: {weights} cannot be read ({error.err})') from None

    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Find the points of uint8 (H, H, 3) BGR, FFHQ-aligned: (68, 2) in pixels."""
        size = img.shape[0]
        scale = INPUT / (SIDE * size)
        centre = np.array([0.5, MIDDLE])
        matrix = np.array([[scale, 0, 0], [0, scale, 0]])
        matrix[:, 2] = INPUT / 2 - 0.5 - scale * (centre * size - 0.5)
        crop = cv2.warpAffine(img, matrix, (INPUT, INPUT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        self.net.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        points = [out for out in self.net.forward(self.net.getUnconnectedOutLayersNames()) if out.size == 136]
        if not points:
            raise RefStarError('landmark network: no output of 136 numbers; give one with 68 points')
        return ((points[0].reshape(68, 2) - 0.5) * SIDE + centre) * size - 0.5


@lru_cache(maxsize=2)
def landmark_network(weights: str, device: str) -> FanPoints | OnnxPoints:
    """Load a network, :class:`OnnxPoints` for `.onnx`, else :class:`FanPoints`; one per file and device is kept.

    Raises:
        RefStarError: the file is missing or of another network.
    """
    if not Path(weights).is_file():
        raise RefStarError(f'landmark network: {weights}: no such file')
    return OnnxPoints(weights) if Path(weights).suffix.lower() == '.onnx' else FanPoints(weights, device)


def mean_distance(points: np.ndarray, others: np.ndarray) -> float:
    """Average the Euclidean distances of points (n, 2) to others (n, 2)."""
    return float(np.linalg.norm(points - others, axis=1).mean())


@METRIC_REGISTRY.register()
def calculate_lmd(img: np.ndarray, img2: np.ndarray, weights: str, device: str = 'cpu', **kwargs) -> float:
    """Compute the mean distance of the landmarks of output and ground truth, in their pixels (lower is better).

    Args:
        img, img2 (ndarray): uint8 (H, W, 3) BGR in [0, 255].
        weights (str): file of the landmark network.

    Raises:
        RefStarError: the sizes differ, or the file is of another network.
    """
    require_same_shape(img, img2)
    points = landmark_network(weights, device)
    return mean_distance(points(img), points(img2))
