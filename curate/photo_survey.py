"""Look at a photo of a collection: alignment, landmarks, sharpness, embedding."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from refstar.data.face_region import Landmarks, face_oval
from refstar.data.images import ImageStore, decode
from refstar.identity_arch import IdentityEncoder
from refstar.metrics.landmark_metric import SPREAD, landmark_network
from refstar.restore.alignment import FaceDetector, cut, side_in_photo
from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor

ENLARGED = 2.0  # a face that had to be enlarged more than this is too small
SIDE = 128  # at which sharpness is measured

_detector = lru_cache(maxsize=1)(FaceDetector)
_landmarks = lru_cache(maxsize=1)(Landmarks)
_encoder = lru_cache(maxsize=1)(IdentityEncoder)


def write_image(path: Path, img: np.ndarray) -> None:
    """Write a PNG atomically: BGR (S, S, 3) or grey (S, S), uint8."""
    try:
        write_atomically(path, cv2.imencode('.png', img)[1].tobytes())
    except OSError as error:
        raise RefStarError(f'cannot write {path}: {error}') from None


def read_photo(
    networks: Mapping, size: int, folder: Path, roots: tuple[Path, ...], item: tuple[int, str, Path]
) -> dict:
    """Look at one photo; write the aligned photo into a folder.

    Args:
        networks: files: `detector` (photos are aligned by it; without it they are aligned already), `landmarks`
            (points, `.npz`, whose names are relative to `roots`, or a network of 68 points, `.safetensors`); and
            `network`, `weights`, `prepare` of `IdentityEncoder`. What is empty is not used. They are loaded once in
            every process.
        size: side of aligned photos in pixels.
        folder, roots: see above.
        item: number, identity and file of the photo.

    Returns:
        `image` (the file), `identity`, `stem`, `aligned` (file), `points` ((68, 2) landmarks, shares of the side, or
        None), `sharpness`, `embedding` (a unit vector, or empty), and `problem`: why the photo cannot be used, or ''.
    """
    number, identity, path = item
    record = {'image': str(path), 'identity': identity, 'stem': path.stem, 'aligned': str(path), 'points': None}
    record |= {'sharpness': 0.0, 'embedding': [], 'problem': ''}
    try:
        if networks['detector']:
            img = _align(networks['detector'], decode(path, 'RGB'), str(path), size)
            record['aligned'] = str(folder.absolute() / f'aligned_{number:06d}.png')
            write_image(Path(record['aligned']), img[..., ::-1])
        else:
            img = ImageStore(size, resize=True).read(path)
        bgr = np.ascontiguousarray(img[..., ::-1])
        record['sharpness'] = sharpness(img)
        points = _points(networks['landmarks'], path, bgr, roots)
        record['points'] = None if points is None else np.round(points.astype(float), 5).tolist()
        if networks['network']:
            encoder = _encoder(networks['network'], networks['weights'] or None, networks['prepare']).eval()
            with torch.inference_mode():
                embedding = encoder(to_tensor(img)[None])[0].numpy()
            record['embedding'] = np.round(embedding.astype(float), 4).tolist()
    except RefStarError as error:
        record['problem'] = str(error)
    return record


def sharpness(img: np.ndarray) -> float:
    """Return the deviation of the Laplacian inside the face, over that of the brightness; RGB uint8, (S, S, 3)."""
    small = cv2.resize(img, (SIDE, SIDE), interpolation=cv2.INTER_AREA if len(img) > SIDE else cv2.INTER_LINEAR)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    face = face_oval(SIDE) > 0
    return float(cv2.Laplacian(grey, cv2.CV_32F)[face].std() / max(grey[face].std(), 1.0))


def _align(detector: str, img: np.ndarray, source: str, size: int) -> np.ndarray:
    """Return the largest face at its place in the FFHQ template, RGB uint8 (size, size, 3)."""
    faces = _detector(detector)(img)
    if not faces:
        raise RefStarError(f'{source}: no face found')
    crop, matrix, _ = cut(img, faces[0].points, size)
    if (enlarged := size / side_in_photo(matrix, size)) > ENLARGED:
        raise RefStarError(f'{source}: the face is too small; it had to be enlarged {enlarged:.1f} times')
    return crop


def _points(file: str, path: Path, bgr: np.ndarray, roots: Sequence[Path]) -> np.ndarray | None:
    """Return 68 landmarks as shares of the side, (68, 2), or what a file of landmarks has, or None."""
    if not file:
        return None
    if Path(file).suffix == '.npz':
        return _landmarks(file, roots)(path)
    points, spread = landmark_network(file, 'cpu').measure(bgr)
    return points if spread <= SPREAD else None
