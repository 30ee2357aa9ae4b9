"""LPIPS as a BasicSR metric: of the whole photo, and of the face alone (fLPIPS).

fLPIPS paints everything but the face black, after ReF-LDM's `scripts/eval.py`. ReF-LDM keeps the classes
[2, 4, 5, 10, 11, 12, 13, 6, 7, 8, 9, 15] of *its* parsing maps: face, ears, nose, inner mouth, lips, brows, eyes,
glasses. facexlib's networks give the same classes other numbers: those are used here.
"""

from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor, nn

from refstar.lpips_network import load_lpips
from refstar.utils.checkpoint import load_fitting, read_state_dict
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import from_basicsr, require_same_shape

# Skin, brows, eyes, glasses, ears, nose, inner mouth and lips; not hair, hat, earring, necklace, neck, cloth.
FACE = {'ParseNet': list(range(1, 13)), 'BiSeNet': [*range(1, 9), *range(10, 14)]}
PARSER_SIZE = 512  # side of the input of the parsing networks, pixels


@lru_cache(maxsize=4)
def lpips_network(net: str, weights: str | None, device: str) -> nn.Module:
    """Load a network; one per net, file and device is kept in this process."""
    return load_lpips(net, weights).to(device)


@METRIC_REGISTRY.register()
@torch.no_grad()
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    net: str = 'squeeze',
    weights: str | None = None,
    crop_border: int = 0,
    input_order: str = 'HWC',
    device: str = 'cpu',
    **kwargs,
) -> float:
    """Compute the LPIPS distance: 0 for equal images. The values of different nets are not comparable.

    Args:
        img, img2 (ndarray): uint8 BGR in [0, 255].
        net (str): 'alex', 'vgg' or 'squeeze'.
        weights (str): file of the ImageNet backbone, see :func:`~refstar.lpips_network.load_lpips`.
        crop_border (int): pixels to leave out along every edge.
        input_order (str): of the images, 'HWC' or 'CHW'.

    Raises:
        RefStarError: no weights configured, or not the net's.
    """
    require_same_shape(img, img2)
    x, y = (from_basicsr(v, crop_border, input_order).to(device) for v in (img, img2))
    return lpips_network(net, weights, device)(x, y).item()


# ----------------------------------------------------------------- the face alone
class FaceParser:
    """Find the face by facexlib's ParseNet or BiSeNet (`parsing_parsenet.pth`, `parsing_bisenet.pth`).

    Raises:
        RefStarError: the file is missing or of another network.
    """

    def __init__(self, weights: str, device: str = 'cpu') -> None:
        from facexlib.parsing.bisenet import BiSeNet
        from facexlib.parsing.parsenet import ParseNet

        state = read_state_dict(weights, 'face parsing network')
        bisenet = any(key.startswith('cp.') for key in state)
        self.name = 'BiSeNet' if bisenet else 'ParseNet'
        net = BiSeNet(19) if bisenet else ParseNet(in_size=PARSER_SIZE, out_size=PARSER_SIZE, parsing_ch=19)
        self.net, self.device = load_fitting(net, state, weights).eval().to(device), device
        # BiSeNet was trained with ImageNet's mean and deviation, ParseNet with images in [-1, 1]
        stats = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]] if bisenet else [[0.5] * 3, [0.5] * 3]
        self.mean, self.std = (torch.tensor(v).view(1, 3, 1, 1) for v in stats)

    @torch.no_grad()
    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Find the face in uint8 (H, W, 3) BGR: (H, W) bool.

        Raises:
            RefStarError: no face was found.
        """
        x = F.interpolate((from_basicsr(img) + 1) / 2, (PARSER_SIZE, PARSER_SIZE), mode='bilinear', align_corners=False)
        scores: Tensor = self.net(((x - self.mean) / self.std).to(self.device))[0]
        classes = scores.argmax(1)[0].cpu().numpy()
        face = np.isin(classes, FACE[self.name]).astype(np.uint8)
        if not face.any():
            raise RefStarError('no face found by the parsing network')
        return cv2.resize(face, img.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0


@lru_cache(maxsize=2)
def face_parser(weights: str, device: str) -> FaceParser:
    """Load a network; one per file and device is kept in this process."""
    return FaceParser(weights, device)


def black_outside(img: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Paint everything but the face (H, W) black in a photo (H, W, 3)."""
    return img * face[..., None]


@METRIC_REGISTRY.register()
def calculate_flpips(
    img: np.ndarray, img2: np.ndarray, net: str, weights: str, parsing_weights: str, device: str = 'cpu', **kwargs
) -> float:
    """Compute LPIPS of two photos with everything but the face black: 0 for equal faces.

    Args:
        img (ndarray): output, uint8 (H, W, 3) BGR in [0, 255].
        img2 (ndarray): ground truth, in which the face is found, the same.
        net, weights: as in :func:`calculate_lpips`.
        parsing_weights (str): file of facexlib's ParseNet or BiSeNet.

    Raises:
        RefStarError: the sizes differ, no face was found, or a file is of another network.
    """
    require_same_shape(img, img2)
    face = face_parser(parsing_weights, device)(img2)
    return calculate_lpips(black_outside(img, face), black_outside(img2, face), net, weights, device=device)
