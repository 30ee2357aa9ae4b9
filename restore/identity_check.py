"""Is a reference the person of the degraded photo? A face-recognition network says how alike two faces are.

Of a network with `refsel.person` (:mod:`refstar.person_check`) the part that was taught bad photos is asked; else any
network of :mod:`refstar.identity_arch`, given by its file. A cosine means something only with the network's name.
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

POLICIES = ('warn', 'drop', 'refuse')
BATCH = 16

# Least cosine of the same person: (degraded photo with clean one, two clean ones). benchmarks/identity_guard.py.
THRESHOLDS = {'mobilefacenet': (0.15, 0.35), 'edgeface_xxs': (0.13, 0.30), 'irse50': (0.15, 0.35)}
DEFAULT = (0.15, 0.30)
LENIENCE = 0.9  # of the person check's logit: its training weighs strangers six times (log 6 is 1.8), half is undone


@dataclass(frozen=True)
class Guard:
    """Compares faces.

    Args:
        name: of the network, for reports.
        sha256: of its file.
        clean: clean faces (b, 3, H, H), RGB in [-1, 1] -> unit embeddings (b, d).
        degraded: the same for degraded faces.
        threshold: least cosine of a degraded photo and a reference of the same person.
        clean_threshold: least cosine of two references of the same person.
    """

    name: str
    sha256: str
    clean: Callable[[Tensor], Tensor]
    degraded: Callable[[Tensor], Tensor]
    threshold: float
    clean_threshold: float

    def embed(self, crops: list[np.ndarray], degraded: bool) -> np.ndarray:
        """Aligned faces, uint8 (S, S, 3), RGB -> unit embeddings (n, d); of each face and its mirror image the mean."""
        network, rows = self.degraded if degraded else self.clean, []
        with torch.inference_mode():
            for start in range(0, len(crops), BATCH):
                x = torch.stack([to_tensor(crop) for crop in crops[start : start + BATCH]])
                rows.append(F.normalize(network(x) + network(x.flip(-1)), dim=1).float().cpu().numpy())
        return np.concatenate(rows)

    def about(self) -> dict[str, str | float]:
        """For reports."""
        return {'network': self.name, 'sha256': self.sha256, 'threshold': round(self.threshold, 4)}


def guard_by_file(network: str, weights: str, device: str = 'cpu', threshold: float | None = None) -> Guard:
    """The guard by a face-recognition network.

    Args:
        network: name in `identity_arch.NETWORKS`.
        weights: its file.
        device: where it runs.
        threshold: least cosine of the same person; None: the measured one.

    Raises:
        RefStarError: unknown network, missing or wrong file, or a threshold that is no cosine.
    """
    encoder = IdentityEncoder(network, weights).to(device).eval()
    usual, clean = THRESHOLDS.get(network, DEFAULT)

    def embed(x: Tensor) -> Tensor:
        return encoder(x.to(device))

    return Guard(network, sha256(weights), embed, embed, _cosine(threshold, usual), clean)


def guard_of(net: nn.Module | None, threshold: float | None = None) -> Guard | None:
    """The guard by a RefSTAR's own person check, None where it has none."""
    check = getattr(getattr(net, 'refsel', None), 'person', None)
    if check is None:
        return None
    device = check.scale.device
    zero = torch.zeros(1, 1, device=device)
    with torch.no_grad():  # the logit is linear in the cosine; strictness is a matter of the selection
        shift, at_one = (
            check.same_person_logits(zero + 1, (zero + value)[None]).item() + check.strictness for value in (0, 1)
        )
    usual = -(shift + LENIENCE) / max(at_one - shift, 1e-6)
    clean = THRESHOLDS.get(check.encoder.network, DEFAULT)[1]

    def embed(x: Tensor) -> Tensor:
        return check.encoder(x.to(device))

    def embed_degraded(x: Tensor) -> Tensor:
        return F.normalize(check.student(check.encoder.prepare(x.to(device).float())), dim=1)

    name = f'{check.encoder.network}, taught degraded photos'
    return Guard(name, check.encoder.sha256, embed, embed_degraded, _cosine(threshold, usual), clean)


def _cosine(given: float | None, usual: float) -> float:
    if given is not None and not -1 <= given <= 1:
        raise RefStarError(f'--identity_threshold is a cosine, -1 to 1, got {given}')
    return usual if given is None else given
