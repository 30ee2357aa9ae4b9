"""Helpers of the tests of `refstar restore`: a tiny network, pictures, a detector, an identity checker."""

from pathlib import Path

import numpy as np
import torch
from basicsr.archs import build_network
from PIL import Image

from refstar.restore.alignment import FoundFace, template
from refstar.restore.identity_check import IdentityChecker
from refstar.tools.cli import main
from refstar.utils.network_file import save_network

from .network_files import options
from .networks import SIZE, randomised

OPTIONS = options(structure_size=8)


def network(seed: int = 0) -> torch.nn.Module:
    """A RefSTAR whose every parameter is random."""
    torch.manual_seed(seed)
    return randomised(build_network(OPTIONS)).eval()


def network_file(folder: Path, seed: int = 0) -> Path:
    """The same in a file."""
    path = folder / f'net{seed}.safetensors'
    save_network(network(seed), path, OPTIONS)
    return path


def restore(*args: object) -> int:
    """Run `refstar restore`; return its exit code."""
    return main(['restore', *map(str, args)])


def picture(seed: int, height: int = SIZE, width: int = SIZE, hue: int | None = None) -> np.ndarray:
    """Random blocks, uint8 (height, width, 3); with a hue one channel stands out: the person, for `hue_checker`."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(60, 140, (-(-height // 4), -(-width // 4), 3)).astype(np.uint8)
    img = np.kron(blocks, np.ones((4, 4, 1), np.uint8))[:height, :width]
    if hue is not None:
        img[..., hue] += 100
    return img


def save(path: Path, img: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(img).save(path, **options)
    return path


def face_at(x: float, y: float, side: float) -> FoundFace:
    """A face whose aligned crop is the upright square of this side with its corner at (x, y)."""
    points = (template(SIZE) + 0.5) * (side / SIZE) + (x, y) - 0.5
    return FoundFace(points, np.array([x, y, x + side, y + side], float), 1.0)


class Detector:
    """Finds the faces that a test has put on pictures, by the picture's width."""

    def __init__(self, faces: dict[int, list[FoundFace]]) -> None:
        self.faces = faces

    def __call__(self, rgb: np.ndarray) -> list[FoundFace]:
        return sorted(self.faces.get(rgb.shape[1], []), key=lambda face: -face.area)


def hue_checker(threshold: float = 0.5) -> IdentityChecker:
    """Takes faces of one dominant channel for one person."""

    def embed(x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((2, 3))
        return torch.nn.functional.normalize(mean - mean.mean(1, keepdim=True), dim=1)

    return IdentityChecker('hue', '0' * 64, embed, embed, threshold, threshold)
