"""Person check: decides whether a reference shows the person of the degraded photo.

A frozen face-recognition network embeds the references. Its copy, the student, learns to give of a degraded photo the
embedding that the frozen one gives of the clean photo. The cosine of the two, scaled and shifted, is the logit of "the
same person". It needs the weights of a face-recognition network. Without them RefSel judges by looks alone, which does
not recognise another person in real photos.

Axis letters: b batch, n references, d length of an embedding, H W image size.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refstar.utils.errors import RefStarError

from .identity_arch import NETWORKS, IdentityEncoder
from .layers import split_refs

RATE = 20.0  # scale and shift of the logit are learned this much faster than weights: they must go further


class Verdict(NamedTuple):
    """Result of :class:`PersonCheck` for degraded photos and their references.

    Attributes:
        logits (Tensor): of "the same person", (b, n).
        embedding (Tensor): unit embeddings of the degraded photos, (b, d).
        refs (Tensor): unit embeddings of the references, (b, n, d).
    """

    logits: Tensor
    embedding: Tensor
    refs: Tensor


class PersonCheck(nn.Module):
    """Predict the logit of "the same person" for every reference.

    Args:
        network, weights, prepare: as of :class:`IdentityEncoder`; a network whose weights can be trained (not 'onnx').
        strictness: subtracted from the logit. 1 asks for e times the evidence: fewer references of other people pass,
            and fewer of the person. For use, not for training, which would compensate it.

    Raises:
        RefStarError: the network cannot be trained, or as of :class:`IdentityEncoder`.
    """

    def __init__(self, network: str, weights: str, prepare: str | None = None, strictness: float = 0.0) -> None:
        super().__init__()
        self.strictness = strictness
        self.encoder = IdentityEncoder(network, weights, prepare)
        self.student = NETWORKS[network].build(weights).eval()
        if not any(p.requires_grad for p in self.student.parameters()):
            raise RefStarError(
                f'refsel:person: {network} cannot be trained; name a network that can, e.g. mobilefacenet'
            )
        self.scale = nn.Parameter(torch.tensor(20.0 / RATE))
        self.shift = nn.Parameter(torch.tensor(-3.0 / RATE))

    def train(self, mode: bool = True) -> 'PersonCheck':
        """Set the mode, but keep the student's batch statistics: those of small batches are worse."""
        super().train(mode)
        self.student.train(False)
        return self

    def encode_ref(self, refs: Tensor) -> Tensor:
        """Embed references (b, n, 3, H, W), RGB in [-1, 1]: unit embeddings (b, n, d), no gradient."""
        with torch.no_grad():
            return split_refs(self.encoder(refs.flatten(0, 1)), refs.shape[1])

    def same_person_logits(self, embedding: Tensor, refs: Tensor) -> Tensor:
        """Compare unit embeddings of degraded photos (b, d) and of references (b, n, d): logits (b, n)."""
        cosine = torch.einsum('bd,bnd->bn', embedding, refs)
        return RATE * (self.scale * cosine + self.shift) - self.strictness

    def forward(self, lq: Tensor, refs: Tensor) -> Verdict:
        """Compare degraded photos (b, 3, H, W), RGB in [-1, 1], with embeddings of their references (b, n, d)."""
        embedding = F.normalize(self.student(self.encoder.prepare(lq.float())), dim=1)
        return Verdict(self.same_person_logits(embedding, refs), embedding, refs)


def both(a: Tensor, b: Tensor) -> Tensor:
    """Return the logit of ``sigmoid(a) * sigmoid(b)``; shapes broadcast."""
    a, b = torch.broadcast_tensors(a, b)
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), 0)
