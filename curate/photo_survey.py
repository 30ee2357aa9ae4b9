"""Look at every photo of a collection once: alignment, landmarks, face area, sharpness, embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from refstar.data.images import ImageStore, decode
from refstar.data.landmarks import Landmarks
from refstar.identity_arch import FFHQ_512, IdentityEncoder
from refstar.metrics.landmark_metric import landmark_network
from refstar.metrics.lpips_metric import face_parser
from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError
from refstar.utils.face_points import FacePoints, similarity
from refstar.utils.image_files import to_tensor

from .pair_mining import pack, sharpness

SEARCHED = 1280  # longer side at which a face is looked for, at most
ENLARGED = 2.0  # a face that had to be enlarged more than this is too small


@dataclass(frozen=True)
class Networks:
    """Files of the networks, '' for those that are not to be used."""

    detector: str = ''  # photos are aligned by it; without it they are aligned already
    landmarks: str = ''  # a network (`.onnx`, `.pth`), or a file of landmarks (`.npz`, `.csv`)
    parsing: str = ''
    embedder: tuple[str, str, str | None] = ('', '', None)  # network, weights, prepare of `IdentityEncoder`


def write_image(path: Path, img: np.ndarray) -> None:
    """Write a PNG atomically: BGR (S, S, 3) or grey (S, S), uint8."""
    try:
        write_atomically(path, cv2.imencode('.png', img)[1].tobytes())
    except OSError as error:
        raise RefStarError(f'cannot write {path}: {error}') from None


class PhotoReader:
    """Make the records of photos that `mine` and `PhotoPairs` read; the work of a stage.

    Aligned photos (of `size` pixels) and areas of faces are written into `folder`; names in a file of landmarks are
    relative to `roots`. The networks are loaded once in every process.

    A record has `image` (the file), `identity`, `stem`, `aligned` (file), `points` ((68, 2) landmarks, shares of the
    side, or None), `face` (file of its area, or ''), `sharpness`, `embedding` (of `pack`, or ''), and `problem`: why
    the photo cannot be used, or ''.
    """

    def __init__(self, networks: Networks, size: int, folder: Path, roots: Sequence[Path] = ()):
        self.networks, self.size, self.folder, self.roots = networks, size, folder.absolute(), tuple(roots)
        self.store = ImageStore(size, resize=True)

    def __call__(self, items: Sequence[tuple[int, str, Path]]) -> list[dict]:
        """Return the records of photos (number, identity, file)."""
        records, shown = [], []
        for number, identity, path in items:
            record = {'image': str(path), 'identity': identity, 'stem': path.stem, 'aligned': str(path), 'points': None}
            record |= {'face': '', 'sharpness': 0.0, 'embedding': '', 'problem': ''}
            try:
                shown.append((record, self._look(number, path, record)))
            except RefStarError as error:
                record['problem'] = str(error)
            records.append(record)
        if self.networks.embedder[0] and shown:
            images = torch.stack([to_tensor(np.divide(img, 255, dtype=np.float32)) for _, img in shown])
            with torch.inference_mode():
                embeddings = _encoder(*self.networks.embedder)(images).numpy()
            for (record, _), embedding in zip(shown, embeddings, strict=True):
                record['embedding'] = pack(embedding)
        return records

    def _look(self, number: int, path: Path, record: dict) -> np.ndarray:
        """Fill a record but for the embedding; return the aligned photo, RGB uint8."""
        if self.networks.detector:
            img = self._align(decode(path, 'RGB'), str(path))
            record['aligned'] = str(self.folder / f'aligned_{number:06d}.png')
            write_image(Path(record['aligned']), img[..., ::-1])
        else:
            img = self.store.read(path)
        bgr = np.ascontiguousarray(img[..., ::-1])
        record['sharpness'] = sharpness(img)
        points = self._points(path, bgr)
        record['points'] = None if points is None else np.round(points.astype(float), 5).tolist()
        if self.networks.parsing:
            face = face_parser(self.networks.parsing, 'cpu')(bgr)
            record['face'] = str(self.folder / f'face_{number:06d}.png')
            write_image(Path(record['face']), face.astype(np.uint8) * 255)
        return img

    def _align(self, img: np.ndarray, source: str) -> np.ndarray:
        """Return the largest face at its place in the FFHQ template, RGB uint8."""
        shrink = min(1.0, SEARCHED / max(img.shape[:2]))
        points = _detector(self.networks.detector)(np.ascontiguousarray(_scaled(img, shrink)[..., ::-1]))
        points = (points + 0.5) / shrink - 0.5
        template = np.array(FFHQ_512) * (self.size / 512)
        scale = float(np.sqrt(np.linalg.det(similarity(points, template)[:, :2])))
        if scale > ENLARGED:
            raise RefStarError(f'{source}: the face is too small; it had to be enlarged {scale:.1f} times')
        img, points = _scaled(img, min(1.0, scale)), (points + 0.5) * min(1.0, scale) - 0.5
        frame, matrix = (self.size, self.size), similarity(points, template)
        return cv2.warpAffine(img, matrix, frame, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)

    def _points(self, path: Path, bgr: np.ndarray) -> np.ndarray | None:
        """Return 68 landmarks as shares of the side, (68, 2), or what a file of landmarks has, or None."""
        file = self.networks.landmarks
        if not file:
            return None
        if Path(file).suffix in ('.npz', '.csv'):
            return _landmarks(file, self.roots)(path)
        points = (landmark_network(file, 'cpu')(bgr) + 0.5) / self.size
        if len(points) == 98:
            from facexlib.alignment import landmark_98_to_68

            points = landmark_98_to_68(points)
        return points


_detector = lru_cache(maxsize=1)(FacePoints)
_landmarks = lru_cache(maxsize=1)(Landmarks)


@lru_cache(maxsize=1)
def _encoder(network: str, weights: str, prepare: str | None) -> IdentityEncoder:
    return IdentityEncoder(network, weights, prepare).eval()


def _scaled(img: np.ndarray, scale: float) -> np.ndarray:
    """Return an image made smaller, by area."""
    if scale == 1:
        return img
    height, width = (max(1, round(side * scale)) for side in img.shape[:2])
    return cv2.resize(img, (width, height), interpolation=cv2.INTER_AREA)
