"""Find the faces of a photo, cut them out as FFHQ aligns them, and paste them back.

A *matrix* (2, 3) maps pixels of the photo to pixels of the crop: a rotation, a scale and a shift.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from refstar.data.face_region import face_oval
from refstar.identity_arch import FFHQ_512
from refstar.utils.face_points import FacePoints, similarity

SIDES = (320, 1600)  # pixels: range of a photo's longer side during detection; fainter faces are lost either way
MIN_EYE_DISTANCE = 4.0  # pixels of the photo; a smaller face holds nothing to restore
CONFIDENCE = {'YuNet': 0.7, 'RetinaFace': 0.9}
SURE = {'YuNet': 0.93, 'RetinaFace': 0.99}  # of upright faces; others are found too, with wrong points
# Pixels: longer side of the small copy on which large faces are found, and on which it is found out how a photo lies.
SMALL_SIDE = 640
LARGE = 160  # pixels of that copy: width of a large face; on more than 400 pixels YuNet takes parts of a face for faces
OVERLAP = 0.3  # share of the smaller box that two boxes of one face have in common
# By how much a photo's score must rise where it is turned: where it is surely upright then, and otherwise.
MARGINS = (0.02, 0.1)
MAX_SUPERSAMPLED = 4096  # pixels: side of a supersampled crop, bounds the memory
AREAS = ('face', 'square')


@dataclass(frozen=True)
class FoundFace:
    """A face in a photo."""

    points: np.ndarray  # eyes, nose, corners of the mouth, (5, 2), (x, y) in pixels, the photo's left eye first
    box: np.ndarray  # left, top, right, bottom in pixels
    score: float  # confidence of the detector, 0 to 1

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return float(self.box[2] - self.box[0])

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return float(np.prod(self.box[2:] - self.box[:2]))


class FaceDetector:
    """Find faces with five points.

    Args:
        weights: facexlib's RetinaFace (`.pth`, MobileNet or ResNet50) or OpenCV's YuNet (`.onnx`).
        device: of RetinaFace.
        confidence: least score of a face; None: the usual one of the network.

    Raises:
        RefStarError: the file is missing or of another network.
    """

    def __init__(self, weights: str, device: str = 'cpu', confidence: float | None = None) -> None:
        self.network = FacePoints(weights, device)
        self.kind = self.network.name.partition('-')[0]
        self.confidence = CONFIDENCE[self.kind] if confidence is None else confidence

    def __call__(self, rgb: np.ndarray, turn: bool = True) -> list[FoundFace]:
        """Find the faces of a photo, uint8 (H, W, 3), RGB; the largest first, no face below `MIN_EYE_DISTANCE`.

        `turn`: where no face is surely upright, the photo is tried by quarter turns too, as it may lie on its side.
        Points and boxes are those of the photo as it is given.
        """
        found = self._find(rgb)
        if turn and max((face.score for face in found), default=0) < SURE[self.kind]:
            shrink = min(1, SMALL_SIDE / max(rgb.shape[:2]))
            small = cv2.resize(rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else rgb
            scores = [max((face.score for face in self._find(np.rot90(small, i))), default=0) for i in range(4)]
            quarters = int(np.argmax(scores))
            if scores[quarters] > scores[0] + MARGINS[scores[quarters] < SURE[self.kind]]:
                found = [turn_back(face, quarters, rgb.shape) for face in self._find(np.rot90(rgb, quarters))]
        return sorted(found, key=lambda face: -face.area)

    def _find(self, rgb: np.ndarray) -> list[FoundFace]:
        """Find faces that stand upright: large ones on a small copy of the photo, the others on the photo."""
        longer = max(rgb.shape[:2])
        found = self._find_at(rgb, np.clip(longer, *SIDES) / longer)
        scale = SMALL_SIDE / longer
        if scale >= 1:
            return found
        large = [face for face in self._find_at(rgb, scale) if face.width * scale >= LARGE]
        return large + [face for face in found if all(overlap(face, other) < OVERLAP for other in large)]

    def _find_at(self, rgb: np.ndarray, scale: float) -> list[FoundFace]:
        """Find faces on a copy of `scale` times the sides."""
        height, width = rgb.shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        bgr = cv2.resize(rgb[..., ::-1], size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        pad = [max(0, 32 - side) for side in size]  # the networks need some pixels on each side
        bgr = cv2.copyMakeBorder(bgr, 0, pad[1], 0, pad[0], cv2.BORDER_CONSTANT)
        found = [self._face(row, np.array([width, height]) / size) for row in self.network.detect(bgr)]
        return [f for f in found if f.score >= self.confidence and eye_distance(f.points) >= MIN_EYE_DISTANCE]

    def _face(self, row: np.ndarray, scale: np.ndarray) -> FoundFace:
        row = row.astype(np.float64)
        if self.network.name == 'YuNet':  # corner and size of the box, points, score
            box, points, score = np.concatenate([row[:2], row[:2] + row[2:4]]), row[4:14], row[14]
        else:
            box, score, points = row[:4], row[4], row[5:15]
        return FoundFace((points.reshape(5, 2) + 0.5) * scale - 0.5, box * np.tile(scale, 2), float(score))


def overlap(face: FoundFace, other: FoundFace) -> float:
    """Return the share of the smaller box that lies in the other."""
    low, high = np.maximum(face.box[:2], other.box[:2]), np.minimum(face.box[2:], other.box[2:])
    return float(np.prod(np.maximum(high - low, 0))) / max(min(face.area, other.area), 1e-6)


def turn_back(face: FoundFace, quarters: int, shape: tuple[int, ...]) -> FoundFace:
    """Return a face found in a photo that was turned by `np.rot90(photo, quarters)` as one of the photo (H, W, ...)."""
    points = np.concatenate([face.points, face.box.reshape(2, 2)])
    sides = np.array([shape[1], shape[0]])
    for done in range(quarters):  # the last turn first: (x, y) of the turned photo is (width - 1 - y, x) of the other
        width = sides[(quarters - 1 - done) % 2]
        points = np.stack([width - 1 - points[:, 1], points[:, 0]], 1)
    box = np.concatenate([points[5:].min(0), points[5:].max(0)])
    return FoundFace(points[:5], box, face.score)


def eye_distance(points: np.ndarray) -> float:
    """Return the distance of the eyes of five points (5, 2), in their unit."""
    return float(np.linalg.norm(points[0] - points[1]))


def most_central(faces: list[FoundFace], shape: tuple[int, ...]) -> list[FoundFace]:
    """Return the face nearest to the middle of a photo of shape (H, W, ...), if there is any."""
    middle = np.array([shape[1], shape[0]]) / 2
    return sorted(faces, key=lambda face: np.linalg.norm(face.points.mean(0) - middle))[:1]


def template(size: int) -> np.ndarray:
    """Return the five points of an aligned face, (5, 2), in pixels of a crop of this side."""
    return np.array(FFHQ_512) * (size / 512)


def cut(photo: np.ndarray, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a face out of a photo, uint8 (H, W, 3), by its five points, (5, 2).

    Returns:
        The crop, uint8 (size, size, 3), averaged where the photo has more pixels and mirrored beyond its edge; the
        matrix; the points in pixels of the crop.
    """
    matrix = similarity(points, template(size))
    return warp_to_face(photo, matrix, size), matrix, points @ matrix[:, :2].T + matrix[:, 2]


def warp_to_face(photo: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Cut a face out of a photo by the matrix of :func:`cut`; as its crop."""
    factor = int(np.clip(np.ceil(side_in_photo(matrix, size) / size), 1, max(1, MAX_SUPERSAMPLED // size)))
    side = size * factor
    fine = for_scaled_crop(matrix, factor)
    crop = cv2.warpAffine(photo, fine, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) if factor > 1 else crop


def for_scaled_photo(matrix: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return the matrix of :func:`cut` for the same photo at `factor` times its width and height, (2,)."""
    scaled = matrix.copy()
    scaled[:, 2] += matrix[:, :2] @ (0.5 / factor - 0.5)
    scaled[:, :2] /= factor
    return scaled


def side_in_photo(matrix: np.ndarray, size: int) -> float:
    """Return the side of a crop in pixels of the photo."""
    return float(size / np.sqrt(np.linalg.det(matrix[:, :2])))


def paste(photo: np.ndarray, face: np.ndarray, matrix: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paste a crop back where it was cut out.

    Args:
        photo: uint8 (H, W, 3); changed in place. Not a bit changes where the mask is 0.
        face: restored crop, uint8 (S, S, 3).
        matrix: as of :func:`cut`.
        mask: share of the crop, (S, S) in [0, 1], 0 along its border (see :func:`feather`).

    Returns:
        The mask in the photo, float32 (H, W).
    """
    size = len(face)
    side = max(1, round(side_in_photo(matrix, size)))
    if side < size:  # the photo has fewer pixels than the crop: averaging first avoids aliasing
        face, mask = (cv2.resize(img, (side, side), interpolation=cv2.INTER_AREA) for img in (face, mask))
        matrix = for_scaled_crop(matrix, side / size)
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)]) * (len(face) - 1)
    inverse = cv2.invertAffineTransform(matrix)
    corners = corners @ inverse[:, :2].T + inverse[:, 2]
    area = np.zeros(photo.shape[:2], np.float32)
    limit = np.array(photo.shape[1::-1])
    left, top = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, limit)
    right, bottom = np.clip(np.ceil(corners.max(0)).astype(int) + 2, 0, limit)
    if right <= left or bottom <= top:
        return area
    inverse[:, 2] -= left, top
    window = (right - left, bottom - top)
    pasted = cv2.warpAffine(face, inverse, window, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(mask, inverse, window, flags=cv2.INTER_LINEAR, borderValue=0).clip(0, 1)
    below = photo[top:bottom, left:right]
    below[:] = np.rint(below + weight[..., None] * (pasted.astype(np.float32) - below)).astype(np.uint8)
    area[top:bottom, left:right] = weight
    return area


@lru_cache(maxsize=8)
def feather(size: int, area: str = 'face') -> np.ndarray:
    """Return the part of a crop that is pasted: 1 inside, falling smoothly to 0; float32 (size, size).

    `face` is forehead to chin, `square` the whole crop with the hair.
    """
    soft = 2 * max(1, size // 32) + 1  # odd: an even window would shift the mask
    if area == 'face':
        inner = cv2.erode(face_oval(size), np.ones((2 * (soft // 4) + 1,) * 2))
    else:
        inner = np.zeros((size, size), np.float32)
        inner[2 * soft : -2 * soft, 2 * soft : -2 * soft] = 1
    mask = cv2.blur(cv2.blur(inner, (soft, soft)), (soft, soft))
    mask[[0, -1]] = mask[:, [0, -1]] = 0
    mask.flags.writeable = False
    return mask


def for_scaled_crop(matrix: np.ndarray, factor: float) -> np.ndarray:
    """Return the matrix to a crop of `factor` times the side; pixel centres are whole numbers."""
    matrix = matrix * factor
    matrix[:, 2] += (factor - 1) / 2
    return matrix
