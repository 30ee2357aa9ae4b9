"""Tell by a face-recognition network whether a degraded photo and a clean one show the same person, as a probability.

The default is the network that ships with a copy of it that was taught degraded photos (benchmarks/strangers_fit.py). A
RefSTAR with `refsel.person` (:mod:`refstar.person_check`) brings one of its own. Else any network of
`identity_arch.NETWORKS` is given by its file.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refstar.identity_arch import IdentityEncoder
from refstar.utils.checkpoint import load_fitting, load_tensors, sha256
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.released_weights import PRETRAINED

BATCH = 16
TAUGHT = PRETRAINED / 'dlib_degraded.safetensors'

# Below which probability of the same person a reference is left out: of a bad photo and of a good one, which needs it
# less (|z|^2 of its embedding, logit). benchmarks/strangers.py prints what comes of it.
LEFT_OUT = (0.45, -0.85), (0.7, 2.0)

# Of networks without a calibration: least cosine of the same person, and the logit's slope.
THRESHOLDS = {'mobilefacenet': (0.15, 0.35), 'edgeface_xxs': (0.13, 0.30), 'irse50': (0.15, 0.35)}  # two clean photos
DEFAULT, SLOPE = (0.15, 0.30), 20.0
CLEAN = 0.5  # least cosine of two clean photos of the same person, of the network that ships (benchmarks/thresholds.py)
LOGIT_OFFSET = 0.9  # the person check's training weighs other people six times: log 6 is 1.8, half of it is undone


@dataclass(frozen=True)
class IdentityChecker:
    """Embed and compare faces.

    The logit of "the same person" is ``a z.r - b |z|^2 + c`` for the embedding z of a degraded face and the unit
    embedding r of a clean one. The taught network's z is the shorter the less it is sure; others' have length 1.
    """

    name: str  # of the network, for records
    sha256: str  # of its file
    clean: Callable[[Tensor], Tensor]  # clean faces (b, 3, H, H), RGB in [-1, 1] -> unit embeddings (b, d)
    degraded: Callable[[Tensor], Tensor]  # degraded faces -> embeddings
    logit: tuple[float, float, float]  # a, b, c
    clean_threshold: float  # least cosine of two references of the same person

    @classmethod
    def shipped(cls, device: str = 'cpu') -> 'IdentityChecker':
        """Open the network that ships, and its copy that was taught degraded photos."""
        encoder, (tensors, _) = IdentityEncoder('dlib'), load_tensors(TAUGHT)
        logit = tuple(tensors.pop('verdict').tolist())
        taught = copy.deepcopy(encoder.net)
        load_fitting(taught, taught.state_dict() | {name: x.float() for name, x in tensors.items()}, TAUGHT)
        encoder, taught = encoder.to(device), taught.to(device)

        def embed(x: Tensor) -> Tensor:
            return encoder(x.to(device))

        def embed_degraded(x: Tensor) -> Tensor:
            return taught(encoder.prepare(x.to(device).float()))

        return cls('dlib, taught degraded photos', sha256(TAUGHT), embed, embed_degraded, logit, CLEAN)

    @classmethod
    def from_file(
        cls, network: str, weights: str | None, device: str = 'cpu', threshold: float | None = None
    ) -> 'IdentityChecker':
        """Open a network of `identity_arch.NETWORKS` by its file; without a threshold the measured one is taken.

        Raises:
            RefStarError: unknown network, missing or wrong file, or the threshold is no cosine.
        """
        encoder = IdentityEncoder(network, weights).to(device).eval()
        default, clean_threshold = THRESHOLDS.get(network, DEFAULT)

        def embed(x: Tensor) -> Tensor:
            return encoder(x.to(device))

        logit = (SLOPE, 0.0, -SLOPE * _cosine(threshold, default))
        return cls(network, encoder.sha256, embed, embed, logit, clean_threshold)

    @classmethod
    def from_network(cls, net: nn.Module | None, threshold: float | None = None) -> 'IdentityChecker | None':
        """Take the person check of a RefSTAR; None where it has none."""
        check = getattr(getattr(net, 'refsel', None), 'person', None)
        if check is None:
            return None
        device = check.scale.device
        zero = torch.zeros(1, 1, device=device)
        with torch.no_grad():  # the logit is linear in the cosine; strictness belongs to the selection
            shift, at_one = (
                check.same_person_logits(zero + 1, (zero + value)[None]).item() + check.strictness for value in (0, 1)
            )
        slope = max(at_one - shift, 1e-6)
        logit = (slope, 0.0, -slope * _cosine(threshold, -(shift + LOGIT_OFFSET) / slope))
        clean_threshold = THRESHOLDS.get(check.encoder.network, DEFAULT)[1]

        def embed(x: Tensor) -> Tensor:
            return check.encoder(x.to(device))

        def embed_degraded(x: Tensor) -> Tensor:
            return F.normalize(check.student(check.encoder.prepare(x.to(device).float())), dim=1)

        name = f'{check.encoder.network}, taught degraded photos'
        return cls(name, check.encoder.sha256, embed, embed_degraded, logit, clean_threshold)

    def embed(self, crops: list[np.ndarray], degraded: bool) -> np.ndarray:
        """Embed aligned faces, uint8 (S, S, 3), RGB, each averaged with its mirror image: (n, d).

        Embeddings of clean faces have length 1, so have those of degraded ones where the length says nothing.
        """
        network, rows = self.degraded if degraded else self.clean, []
        with torch.inference_mode():
            for start in range(0, len(crops), BATCH):
                x = torch.stack([to_tensor(crop) for crop in crops[start : start + BATCH]])
                z = ((network(x) + network(x.flip(-1))) / 2).float().cpu()
                rows.append((z if degraded and self.logit[1] else F.normalize(z, dim=1)).numpy())
        return np.concatenate(rows)

    def probability(self, face: np.ndarray, reference: np.ndarray) -> float:
        """Return how likely a degraded and a clean embedding, (d,), are the same person's, 0 to 1."""
        a, b, c = self.logit
        return float(1 / (1 + np.exp(-(a * (face @ reference) - b * (face @ face) + c))))

    def least_probability(self, face: np.ndarray) -> float:
        """Return below which probability references of a degraded embedding, (d,), are left out."""
        (bad, low), (good, high) = LEFT_OUT
        logit = np.interp(face @ face, (bad, good), (low, high)) if self.logit[1] else low
        return float(1 / (1 + np.exp(-logit)))

    def judge(self, face: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
        """Return cosine, probability of the same person, and below which one the reference is left out."""
        return cosine(face, reference), self.probability(face, reference), self.least_probability(face)

    def about(self) -> dict[str, str]:
        """Return name and file for records."""
        return {'network': self.name, 'sha256': self.sha256}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of two embeddings, (d,)."""
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9))


def _cosine(given: float | None, default: float) -> float:
    if given is not None and not -1 <= given <= 1:
        raise RefStarError(f'--identity_threshold is a cosine, -1 to 1, got {given}')
    return default if given is None else given
