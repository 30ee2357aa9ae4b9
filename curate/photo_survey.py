"""Looking at every photo of a collection once: alignment, landmarks, face area, sharpness, embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch

from refstar.data.images import ImageStore, decode
from refstar.data.landmarks import Landmarks
from refstar.identity_arch import FFHQ_512, IdentityEncoder
from refstar.metrics.landmark_metric import landmark_network
from refstar.metrics.lpips_metric import face_parser
from refstar.utils.errors import RefStarError
from refstar.utils.face_points import FacePoints, similarity
from refstar.utils.image_files import to_tensor

from .build_stages import write_image
from .pair_mining import pack, sharpness

SEARCHED = 1280  # longer side at which a face is looked for, at most
ENLARGED = 2.0  # a face that had to be enlarged more than this is too small


@dataclass(frozen=True)
class Networks:
    """Files of the networks, '' for those that are not to be used.

    Args:
        detector: face detector; photos are aligned by it. Without it they are aligned already.
        landmarks: a landmark network (`.onnx`, `.pth`), or a file of landmarks (`.npz`, `.csv`).
        parsing: face parsing network.
        embedder: (network, weights, prepare) of `IdentityEncoder`.
    """

    detector: str = ''
    landmarks: str = ''
    parsing: str = ''
    embedder: tuple[str, str, str | None] = ('', '', None)


class PhotoReader:
    """Makes the records of photos that `mining.mine` and `PhotoPairs` read; the work of a stage.

    Args:
        networks: what to look with; loaded in the process that works.
        size: side of aligned photos in pixels.
        folder: aligned photos and areas of faces are written here.
        roots: folders to which the names in a file of landmarks are relative.

    A photo that cannot be used has the reason in `problem`.
    """

    def __init__(self, networks: Networks, size: int, folder: Path, roots: Sequence[Path] = ()):
        self.networks, self.size, self.folder, self.roots = networks, size, folder.absolute(), list(roots)
        self.store = ImageStore(size, resize=True)

    def __call__(self, items: Sequence[tuple[int, str, Path]]) -> list[dict]:
        """Records of photos (number, identity, file)."""
        records, shown = [], []
        for number, identity, path in items:
            record = {'image': str(path), 'identity': identity, 'stem': path.stem, 'aligned': str(path), 'points': None}
            record |= {'face': '', 'sharpness': 0.0, 'embedding': '', 'problem': ''}
            try:
                img = self._look(number, path, record)
                shown.append((record, img))
            except RefStarError as error:
                record['problem'] = str(error)
            records.append(record)
        if self.networks.embedder[0] and shown:
            self._embed(shown)
        return records

    def _look(self, number: int, path: Path, record: dict) -> np.ndarray:
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
        """The largest face at its place in the FFHQ template, RGB uint8."""
        shrink = min(1.0, SEARCHED / max(img.shape[:2]))
        points = (self._detector(np.ascontiguousarray(_scaled(img, shrink)[..., ::-1])) + 0.5) / shrink - 0.5
        template = np.array(FFHQ_512) * (self.size / 512)
        scale = float(np.sqrt(np.linalg.det(similarity(points, template)[:, :2])))
        if scale > ENLARGED:
            raise RefStarError(f'{source}: the face is too small; it had to be enlarged {scale:.1f} times')
        img, points = _scaled(img, min(1.0, scale)), (points + 0.5) * min(1.0, scale) - 0.5
        frame = (self.size, self.size)
        matrix = similarity(points, template)
        return cv2.warpAffine(img, matrix, frame, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)

    def _points(self, path: Path, bgr: np.ndarray) -> np.ndarray | None:
        """68 landmarks as shares of the side, (68, 2), or what a file of landmarks has, or None."""
        if not self.networks.landmarks:
            return None
        if self._landmarks:
            return self._landmarks(path)
        points = (landmark_network(self.networks.landmarks, 'cpu')(bgr) + 0.5) / self.size
        if len(points) == 98:
            from facexlib.alignment import landmark_98_to_68

            points = landmark_98_to_68(points)
        return points

    def _embed(self, shown: Sequence[tuple[dict, np.ndarray]]) -> None:
        images = torch.stack([to_tensor(np.divide(img, 255, dtype=np.float32)) for _, img in shown])
        with torch.inference_mode():
            for (record, _), embedding in zip(shown, self._encoder(images).numpy(), strict=True):
                record['embedding'] = pack(embedding)

    @cached_property
    def _detector(self) -> FacePoints:
        return FacePoints(self.networks.detector)

    @cached_property
    def _encoder(self) -> IdentityEncoder:
        return IdentityEncoder(*self.networks.embedder).eval()

    @cached_property
    def _landmarks(self) -> Landmarks | None:
        file = self.networks.landmarks
        return Landmarks(file, self.roots) if Path(file).suffix in ('.npz', '.csv') else None


def _scaled(img: np.ndarray, scale: float) -> np.ndarray:
    """An image made smaller, by area."""
    if scale == 1:
        return img
    height, width = (max(1, round(side * scale)) for side in img.shape[:2])
    return cv2.resize(img, (width, height), interpolation=cv2.INTER_AREA)
