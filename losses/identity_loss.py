"""Identity losses by a frozen face-recognition network.

Axis letters: b batch, n references, d length of an embedding, H W image size.
"""

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from refstar.identity_arch import IdentityEncoder
from refstar.utils.errors import RefStarError

from .masked import only


@LOSS_REGISTRY.register()
class HardExampleIdentityLoss(nn.Module):
    """``(1 - lambda) (1 - cos(E(gt), E(out))) + lambda (1 - cos(E(ref), E(out)))`` (after arXiv 2505.21905).

    The ground truth is an easy example of the person, since it shares pose and expression with the output; a reference
    is a hard one. The reference term is the mean over the valid references. A sample without one has lambda 0.

    Args:
        network (str): identity network, see :class:`~refstar.identity_arch.IdentityEncoder`. Report with another one.
        weights (str | None): path of its file; None: the one that ships (dlib).
        loss_weight (float): factor on both terms. Default: 1.
        lambda_ref (float): lambda in [0, 1]; no value is claimed to be a paper's. Default: 0.5.
        focus (float): weighs the samples of a batch by ``(1 - cos(E(gt), E(out))) ** focus``, scaled to mean 1: above 0
            people who are not yet recognised count more. Default: 0, equal weights.
    """

    def __init__(
        self,
        network: str,
        weights: str | None = None,
        loss_weight: float = 1.0,
        lambda_ref: float = 0.5,
        focus: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= lambda_ref <= 1:
            raise RefStarError(f'HardExampleIdentityLoss: lambda_ref is {lambda_ref}; it must lie in [0, 1]')
        self.encoder = IdentityEncoder(network, weights)
        self.loss_weight, self.lambda_ref, self.focus = loss_weight, lambda_ref, focus

    def forward(
        self,
        out: Tensor,
        gt: Tensor,
        refs: Tensor | None = None,
        ref_valid: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compare identities.

        Args:
            out (Tensor): restored faces, FFHQ-aligned, shape (b, 3, H, H), RGB in [-1, 1].
            gt (Tensor): the same shape; no gradient.
            refs (Tensor | None): references, shape (b, n, 3, H, H); no gradient. None: lambda is 0.
            ref_valid (Tensor | None): bool, shape (b, n): references of *this person*; False for padding and for
                references of another person. None: all.
            sample_weight (Tensor | None): factor on each sample, shape (b,). None: 1.

        Returns:
            dict: ``gt`` and ``ref``, weighted scalars.
        """
        b = len(out)
        with torch.no_grad():
            if refs is None:
                refs, ref_valid = gt[:, None], torch.zeros(b, 1, dtype=torch.bool, device=gt.device)
            elif ref_valid is None:
                ref_valid = torch.ones(refs.shape[:2], dtype=torch.bool, device=gt.device)
            wanted = self.encoder(torch.cat([gt, only(refs, ref_valid).flatten(0, 1)]))
            refs_wanted = only(wanted[b:].unflatten(0, ref_valid.shape), ref_valid)
        embedding = self.encoder(out)
        far_gt = 1 - torch.einsum('bd,bd->b', embedding, wanted[:b])
        far_refs = 1 - torch.einsum('bd,bnd->bn', embedding, refs_wanted)
        count = ref_valid.sum(1)
        far_ref = (far_refs * ref_valid).sum(1) / count.clamp_min(1)
        lambda_ref = self.lambda_ref * (count > 0)
        weight = far_gt.detach().clamp_min(1e-6) ** self.focus
        weight = self.loss_weight * weight / weight.mean() * (1 if sample_weight is None else sample_weight)
        return {'gt': (weight * (1 - lambda_ref) * far_gt).mean(), 'ref': (weight * lambda_ref * far_ref).mean()}
