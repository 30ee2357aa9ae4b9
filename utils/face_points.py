"""Five points of a face (eyes, nose, corners of the mouth) by a detector."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import torch

from .checkpoint import load_fitting, read_state_dict, sha256, what_instead
from .errors import RefStarError

CONFIDENCE = 0.5


def _open_yunet(weights: str) -> cv2.FaceDetectorYN:
    """Open YuNet; OpenCV takes any ONNX file, so it is tried on an empty picture."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        net = cv2.FaceDetectorYN.create(weights, '', (320, 320), CONFIDENCE)
        net.detect(np.zeros((320, 320, 3), np.uint8))
    except cv2.error:
        reason = what_instead(weights) or 'is no YuNet; leave --detector out for the one that ships'
        raise RefStarError(f'face detector: {weights}: {reason}') from None
    finally:
        cv2.utils.logging.setLogLevel(level)
    return net


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Fit the least-squares similarity transform (rotation, scale, shift) of points (n, 2) onto others, as (2, 3)."""
    # As complex numbers a similarity is z -> a z + b.
    z, w = (p.astype(np.float64) @ (1, 1j) for p in (points, target))
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


class FacePoints:
    """Face detector from its file: facexlib's RetinaFace (`.pth`, MobileNet or ResNet50) or YuNet (`.onnx`).

    Raises:
        RefStarError: the file is missing or of another network.
    """

    def __init__(self, weights: str, device: str = 'cpu') -> None:
        if not Path(weights).is_file():
            raise RefStarError(f'face detector: {weights}: no such file')
        self.weights = weights
        if Path(weights).suffix.lower() == '.onnx':
            self.name, self.detect = 'YuNet', self._yunet
            self.net = _open_yunet(weights)
            return
        from facexlib.detection.retinaface import RetinaFace

        state = read_state_dict(weights, 'face detector')
        small = any(key.startswith('body.stage1') for key in state)
        self.name, self.detect = f'RetinaFace-{"mobile0.25" if small else "resnet50"}', self._retinaface
        with warnings.catch_warnings():  # torchvision's, about arguments of facexlib
            warnings.simplefilter('ignore')
            net = RetinaFace('mobile0.25' if small else 'resnet50', device=torch.device(device))
        self.net = load_fitting(net, state, weights).eval().to(device)

    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Find the points of the largest face, (5, 2), x and y in pixels, the eye on the image's left first.

        Args:
            img: uint8 (H, W, 3) BGR.

        Raises:
            RefStarError: no face was found.
        """
        found = self.detect(img)
        if not len(found):
            raise RefStarError(f'no face found by {self.name}')
        sizes = (found[:, 2] * found[:, 3]) if self.name == 'YuNet' else np.prod(found[:, 2:4] - found[:, :2], 1)
        best = found[sizes.argmax()]
        return (best[4:14] if self.name == 'YuNet' else best[5:15]).reshape(5, 2)

    def about(self) -> dict[str, str]:
        """Return what has to stand beside figures: detector, file, sha256."""
        return {'detector': self.name, 'detector_weights': self.weights, 'detector_sha256': sha256(self.weights)}

    def _yunet(self, img: np.ndarray) -> np.ndarray:
        self.net.setInputSize(img.shape[1::-1])
        found = self.net.detect(img)[1]
        return np.empty((0, 15)) if found is None else found

    @torch.no_grad()
    def _retinaface(self, img: np.ndarray) -> np.ndarray:
        return self.net.detect_faces(img, CONFIDENCE)
