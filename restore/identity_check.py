"""Compare the person of a degraded photo with the person of a reference by a face-recognition network.

A RefSTAR with `refsel.person` (:mod:`refstar.person_check`) brings a network that was trained on degraded photos. Else
any network of `identity_arch.NETWORKS` is given by its file. A cosine means something only together with the network.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refstar.identity_arch import IdentityEncoder
from refstar.utils.checkpoint import sha256
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor

BATCH = 16

# Least cosine of the same person: (degraded photo with clean one, two clean ones). benchmarks/identity_guard.py.
THRESHOLDS = {'mobilefacenet': (0.15, 0.35), 'edgeface_xxs': (0.13, 0.30), 'irse50': (0.15, 0.35)}
DEFAULT = (0.15, 0.30)
LOGIT_OFFSET = 0.9  # the person check's training weighs other people six times: log 6 is 1.8, half of it is undone


@dataclass(frozen=True)
class IdentityChecker:
    """Embed and compare faces."""

    name: str  # of the network, for records
    sha256: str  # of its file
    clean: Callable[[Tensor], Tensor]  # clean faces (b, 3, H, H), RGB in [-1, 1] -> unit embeddings (b, d)
    degraded: Callable[[Tensor], Tensor]  # the same for degraded faces
    threshold: float  # least cosine of a degraded photo and a reference of the same person
    clean_threshold: float  # least cosine of two references of the same person

    @classmethod
    def from_file(
        cls, network: str, weights: str, device: str = 'cpu', threshold: float | None = None
    ) -> 'IdentityChecker':
        """Open a network of `identity_arch.NETWORKS` by its file; without a threshold the measured one is taken.

        Raises:
            RefStarError: unknown network, missing or wrong file, or the threshold is no cosine.
        """
        encoder = IdentityEncoder(network, weights).to(device).eval()
        default, clean_threshold = THRESHOLDS.get(network, DEFAULT)

        def embed(x: Tensor) -> Tensor:
            return encoder(x.to(device))

        return cls(network, sha256(weights), embed, embed, _cosine(threshold, default), clean_threshold)

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
        default = -(shift + LOGIT_OFFSET) / max(at_one - shift, 1e-6)
        clean_threshold = THRESHOLDS.get(check.encoder.network, DEFAULT)[1]

        def embed(x: Tensor) -> Tensor:
            return check.encoder(x.to(device))

        def embed_degraded(x: Tensor) -> Tensor:
            return F.normalize(check.student(check.encoder.prepare(x.to(device).float())), dim=1)

        name = f'{check.encoder.network}, taught degraded photos'
        threshold = _cosine(threshold, default)
        return cls(name, check.encoder.sha256, embed, embed_degraded, threshold, clean_threshold)

    def embed(self, crops: list[np.ndarray], degraded: bool) -> np.ndarray:
        """Embed aligned faces, uint8 (S, S, 3), RGB, each averaged with its mirror image: unit vectors (n, d)."""
        network, rows = self.degraded if degraded else self.clean, []
        with torch.inference_mode():
            for start in range(0, len(crops), BATCH):
                x = torch.stack([to_tensor(crop) for crop in crops[start : start + BATCH]])
                rows.append(F.normalize(network(x) + network(x.flip(-1)), dim=1).float().cpu().numpy())
        return np.concatenate(rows)

    def about(self) -> dict[str, str | float]:
        """Return name, file and threshold for records."""
        return {'network': self.name, 'sha256': self.sha256, 'threshold': round(self.threshold, 4)}


def _cosine(given: float | None, default: float) -> float:
    if given is not None and not -1 <= given <= 1:
        raise RefStarError(f'--identity_threshold is a cosine, -1 to 1, got {given}')
    return default if given is None else given
