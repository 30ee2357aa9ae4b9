"""Faces in a photo of any size, each with five points, by a detector that the user gives as a file."""

from dataclasses import dataclass

import cv2
import numpy as np

from refstar.utils.face_points import FacePoints

SIDES = (320, 1600)  # a photo's longer side while it is searched: faces of a few pixels are lost either way
LEAST_EYES = 4.0  # distance of the eyes in pixels of the photo below which nothing can be restored
CONFIDENCE = {'YuNet': 0.7, 'RetinaFace': 0.9}


@dataclass(frozen=True)
class FoundFace:
    """A face in a photo.

    Args:
        points: eyes, nose, corners of the mouth, (5, 2), (x, y) in pixels, the eye on the photo's left first.
        box: left, top, right, bottom in pixels.
        score: the detector's confidence, 0 to 1.
    """

    points: np.ndarray
    box: np.ndarray
    score: float

    @property
    def area(self) -> float:
        """Of the box, in pixels."""
        return float(np.prod(self.box[2:] - self.box[:2]))


class FaceDetector:
    """Finds faces.

    Args:
        weights: facexlib's RetinaFace (`.pth`, MobileNet or ResNet50) or OpenCV's YuNet (`.onnx`).
        device: of RetinaFace.
        confidence: least score of a face; None: what suits the network.

    Raises:
        RefStarError: the file is missing or of another network.
    """

    def __init__(self, weights: str, device: str = 'cpu', confidence: float | None = None) -> None:
        self.network = FacePoints(weights, device)
        self.confidence = CONFIDENCE[self.network.name.partition('-')[0]] if confidence is None else confidence

    def __call__(self, rgb: np.ndarray) -> list[FoundFace]:
        """The faces of a photo (H, W, 3), RGB, uint8; the largest first, none with eyes under `LEAST_EYES` apart."""
        height, width = rgb.shape[:2]
        longer = max(height, width)
        scale = np.clip(longer, *SIDES) / longer
        size = max(1, round(width * scale)), max(1, round(height * scale))
        shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        bgr = cv2.resize(rgb[..., ::-1], size, interpolation=shrink)
        pad = [max(0, 32 - side) for side in size]  # a network cannot take a strip of one pixel
        bgr = cv2.copyMakeBorder(bgr, 0, pad[1], 0, pad[0], cv2.BORDER_CONSTANT)
        found = [self._face(row, np.array([width, height]) / size) for row in self.network.detect(bgr)]
        found = [face for face in found if face.score >= self.confidence and eye_distance(face.points) >= LEAST_EYES]
        return sorted(found, key=lambda face: -face.area)

    def _face(self, row: np.ndarray, scale: np.ndarray) -> FoundFace:
        row = row.astype(np.float64)
        if self.network.name == 'YuNet':  # box by corner and size, points, score
            box, points, score = np.concatenate([row[:2], row[:2] + row[2:4]]), row[4:14], row[14]
        else:
            box, score, points = row[:4], row[4], row[5:15]
        return FoundFace((points.reshape(5, 2) + 0.5) * scale - 0.5, box * np.tile(scale, 2), float(score))


def eye_distance(points: np.ndarray) -> float:
    """Distance of the eyes of five points (5, 2), in their unit."""
    return float(np.linalg.norm(points[0] - points[1]))


def most_central(faces: list[FoundFace], shape: tuple[int, ...]) -> list[FoundFace]:
    """The face nearest to the middle of a photo of the shape (H, W, ...), if there is any."""
    middle = np.array([shape[1], shape[0]]) / 2
    return sorted(faces, key=lambda face: np.linalg.norm(face.points.mean(0) - middle))[:1]
