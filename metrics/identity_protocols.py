"""Identity scores by the *named* protocols of published papers: network, crop, resize and value belong together.

A cosine by "ArcFace" alone means nothing: a protocol's name, its crop rule and the sha256 of its file are always
reported beside its figures. A new protocol is a row of ``PROTOCOLS``. Sources: the evaluation scripts of ReF-LDM
(`scripts/eval.py`), VQFR (`metric_paper/calculate_cos_dist.py`, also PMRF's) and RestoreFormer
(`scripts/metrics/cal_identity_distance.py`), GFPGAN's identity loss, and insightface's alignment.

All images here are uint8 (H, H, 3) BGR in [0, 255], FFHQ-aligned.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refstar.identity_arch import ARCFACE_112, NETWORKS, PREPARE, grey_128
from refstar.utils.checkpoint import sha256
from refstar.utils.errors import RefStarError, nearest
from refstar.utils.face_points import FacePoints, similarity
from refstar.utils.image_files import from_basicsr


def refldm_112(img: np.ndarray) -> Tensor:
    """Prepare ReF-LDM's input: the middle 6.25 to 93.75 % of rows and columns, area-averaged to 112, RGB in [-1, 1]."""
    h, w = img.shape[:2]
    rows, columns = (slice(int(0.0625 * n), int(0.9375 * n)) for n in (h, w))
    return F.interpolate(from_basicsr(img)[..., rows, columns], (112, 112), mode='area')


def gfpgan_128(img: np.ndarray) -> Tensor:
    """Prepare the input of GFPGAN's identity loss: luminance of RGB in [-1, 1], whole face, bilinear 128."""
    return grey_128(from_basicsr(img))


def restoreformer_128(img: np.ndarray) -> Tensor:
    """Prepare RestoreFormer's input: as GFPGAN's, but its script reads BGR as if it were RGB, in [0, 1]."""
    return grey_128((from_basicsr(img[..., ::-1]) + 1) / 2)


def vqfr_128(img: np.ndarray) -> Tensor:
    """Prepare VQFR's input: the grey that `cv2.imread(file.png, 0)` gives, cv2 linear 128, in [-1, 1].

    OpenCV's reader rounds grey otherwise than `cvtColor`: half of the pixels differ by one level.
    """
    grey = cv2.imdecode(cv2.imencode('.png', img)[1], cv2.IMREAD_GRAYSCALE)
    grey = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(grey.astype(np.float32) / 127.5 - 1)[None, None]


def insightface_112(img: np.ndarray, points: np.ndarray) -> Tensor:
    """Prepare insightface's input: similarity of five points to ArcFace's template, cv2 linear 112, RGB in [-1, 1]."""
    return from_basicsr(cv2.warpAffine(img, similarity(points, np.array(ARCFACE_112)), (112, 112), borderValue=0))


@dataclass(frozen=True)
class Protocol:
    """Published way to compare two faces.

    Attributes:
        prepare: image -> the network's input; with ``points``, it takes the five points as well.
        crop: what ``prepare`` does, in words, for the output.
        published: the file that its authors used.
        network: name in ``identity_arch.NETWORKS`` of a file that is no ONNX.
        unit: of the value: 'cosine' (higher is better), 'degrees' or 'radians' (lower is better).
        skip_below: pairs with a smaller value are left out and counted, as the authors do.
        points: five points have to be detected.
        note: what is not known, or differs from the authors' own.
    """

    prepare: Callable[..., Tensor]
    crop: str
    published: str | None = None
    network: str = 'torchscript'
    unit: str = 'cosine'
    skip_below: float = -math.inf
    points: bool = False
    note: str = ''


PROTOCOLS = {
    'refldm': Protocol(
        refldm_112,
        'centre, rows and columns int(0.0625 h):int(0.9375 h), area to 112x112, RGB in [-1, 1]',
        'webface_r50.onnx',
    ),
    'gfpgan': Protocol(
        gfpgan_128,
        'whole face, .2989 R + .5870 G + .1140 B in [-1, 1], bilinear to 128x128',
        'arcface_resnet18.pth',
        'arcface_resnet18',
        note='the input is that of the identity loss of GFPGAN, which released no evaluation script: its own value is '
        'not known (?), here the cosine',
    ),
    'restoreformer': Protocol(
        restoreformer_128,
        'whole face, .2989 B + .5870 G + .1140 R in [0, 1] (BGR read as RGB, as its script does), bilinear to 128x128',
        'arcface_resnet18.pth',
        'arcface_resnet18',
        unit='radians',
    ),
    'vqfr': Protocol(
        vqfr_128,
        'whole face, grey of cv2.imread(file, 0), cv2 linear to 128x128, / 127.5 - 1',
        'resnet18_110.pth',
        'arcface_resnet18',
        unit='degrees',
        skip_below=1,
        note='"Deg." of VQFR and PMRF; pairs below 1 degree are left out, as theirs are',
    ),
    'insightface': Protocol(
        insightface_112,
        'five points by similarity onto the ArcFace template, cv2 linear, 112x112, RGB in [-1, 1]',
        'w600k_r50.onnx',
        points=True,
        note='RestorerID takes buffalo_l (w600k_r50.onnx), FaceMe antelopev2 (glintr100.onnx), both with the points of '
        'insightface’s own detector; another detector gives slightly other figures',
    ),
}


def protocol(name: str) -> Protocol:
    """Return a published protocol, or one of our own named networks with its own crop.

    Raises:
        RefStarError: unknown name.
    """
    known = [*PROTOCOLS, *NETWORKS]
    if name not in known:
        raise RefStarError(f'unknown identity protocol {name!r}{nearest(name, known)}; known are {", ".join(known)}')
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    crop = NETWORKS[name].prepare
    return Protocol(
        lambda img: PREPARE[crop](from_basicsr(img)),
        f'{crop} of refstar.identity_arch: fixed crop of the FFHQ alignment',
        network=name,
        note='no published protocol',
    )


class IdentityScore:
    """Compare faces by a named protocol.

    Args:
        name: of the protocol, see :func:`protocol`.
        weights: file of its network; a file `*.onnx` is run by onnxruntime.
        detector: file of a face detector, for protocols that need five points, see :class:`FacePoints`.
        device: where to compute. Default: 'cpu'.

    Raises:
        RefStarError: unknown protocol, a file is missing, not given, or of another network.
    """

    def __init__(self, name: str, weights: str, detector: str | None = None, device: str = 'cpu') -> None:
        self.name, self.weights, self.device = name, weights, device
        self.protocol = protocol(name)
        if not Path(weights).is_file():
            raise RefStarError(f'identity protocol {name}: {weights}: no such file')
        self.network = 'onnx' if Path(weights).suffix.lower() == '.onnx' else self.protocol.network
        with torch.random.fork_rng(devices=[]):  # the random initial weights are replaced
            self.net = NETWORKS[self.network].build(weights).eval().to(device)
        self.points = None
        if self.protocol.points:
            if not detector:
                raise RefStarError(f'identity protocol {name} needs five points: give the file of a face detector')
            self.points = FacePoints(detector, device)

    @torch.no_grad()
    def embed(self, img: np.ndarray) -> Tensor:
        """Embed a face: length 1, shape (d,), float64.

        Raises:
            RefStarError: no square image, or no face found in it.
        """
        if img.ndim != 3 or img.shape[0] != img.shape[1]:
            raise RefStarError(f'identity: expected a square FFHQ-aligned face, got {img.shape}')
        x = self.protocol.prepare(img, self.points(img)) if self.points else self.protocol.prepare(img)
        return F.normalize(self.net(x.to(self.device))[0].flatten().cpu().double(), dim=0)

    def value(self, cosine: float) -> float:
        """Return the protocol's value of a cosine; NaN where the protocol leaves the pair out."""
        angle = math.acos(min(1.0, max(-1.0, cosine)))
        value = {'cosine': cosine, 'radians': angle, 'degrees': math.degrees(angle)}[self.protocol.unit]
        return math.nan if value < self.protocol.skip_below else value

    def about(self) -> dict[str, object]:
        """Return what has to be reported beside the figures."""
        p, file = self.protocol, Path(self.weights).name
        other = f'published with {p.published}, measured with {file}: no published figure to compare with'
        notes = [p.note] * bool(p.note) + [other] * bool(p.published and file != p.published)
        about = {'protocol': self.name, 'network': self.network, 'weights': self.weights}
        about |= {'sha256': sha256(self.weights), 'crop': p.crop, 'value': p.unit}
        return about | (self.points.about() if self.points else {}) | {'note': '; '.join(notes)}
