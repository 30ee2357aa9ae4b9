"""RefSTAR: any registered backbone, with references.

Axis letters: b batch, n references, c channels, h w feature size, H W image size.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from einops import rearrange
from torch import Tensor, nn

from .backbones import default_taps, measure_taps
from .errors import RefStarError
from .layers import resize
from .reference_bank import ReferenceBank
from .reference_encoder import ReferenceEncoder
from .refsel_arch import RefSel, carry, resize_slots
from .transfer import Transfer


@ARCH_REGISTRY.register()
class RefSTAR(nn.Module):
    """A backbone with reference selection and transfer.

    Without a valid reference, at strength 0 or with an all-zero mask, the output is the backbone's, bit for bit.

    Args:
        backbone (dict): option block of any registered arch (``type`` and its arguments).
        size (int): image size H = W.
        taps (list[str] | None): module paths of the backbone whose outputs receive reference features.
            None: the table in ``backbones.py``.
        refsel (dict | None): arguments of :class:`RefSel`. None: its defaults.
        ref_channels (int): width of the reference encoder. Default: 32.
        structure_size (int): structure grid of the transfer; choose about the number of pixels that the degradation
            leaves across the face. Default: 32.
    """

    option_blocks = {'refsel': RefSel}

    def __init__(
        self,
        backbone: dict,
        size: int,
        taps: list[str] | None = None,
        refsel: dict | None = None,
        ref_channels: int = 32,
        structure_size: int = 32,
    ) -> None:
        super().__init__()
        self.size = size
        self.backbone = build_network(backbone)
        taps = taps or default_taps(backbone['type'], self.backbone, size)
        shapes = measure_taps(self.backbone, taps, size)
        self.taps = {tap: resolution for tap, (_, resolution) in shapes.items()}
        self.refsel = RefSel(**(refsel or {}))
        self.ref_encoder = ReferenceEncoder(size, list(self.taps.values()), ref_channels)
        self.transfer = nn.ModuleList([Transfer(c, ref_channels, structure_size) for c, _ in shapes.values()])
        self._stamp, self._fingerprint = None, ''

    def fingerprint(self) -> str:
        """Identifies the image size, the taps and the weights that make a bank; computed again only if they changed."""
        weights = [*self.refsel.ref_encoder.parameters(), *self.ref_encoder.parameters()]
        stamp = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in weights]
        if stamp != self._stamp:
            digest = hashlib.sha256(f'{self.size} {self.refsel.size} {self.taps}'.encode())
            for p in weights:
                digest.update(p.detach().float().cpu().numpy().tobytes())
            self._stamp, self._fingerprint = stamp, digest.hexdigest()[:16]
        return self._fingerprint

    def encode(
        self, refs: Tensor, ref_valid: Tensor | None = None, mask: Tensor | None = None, fingerprint: bool = True
    ) -> ReferenceBank:
        """Encodes references once, for use with any number of photos of this person.

        Args:
            refs (Tensor): references, shape (b, n, 3, H, W), RGB in [-1, 1].
            ref_valid (Tensor | None): bool, shape (b, n); False marks padding slots. None: all are valid.
            mask (Tensor | None): selection masks to use in place of RefSel's, shape (b, n, 1, H, W), in [0, 1].
                Where a mask is 0, the reference is blanked before anything sees it.
            fingerprint (bool): stamp the bank with this network's fingerprint. Default: True.

        Returns:
            ReferenceBank: for the argument ``bank`` of :meth:`forward`.
        """
        b, n, _, h, w = refs.shape
        if (h, w) != (self.size, self.size):
            raise RefStarError(f'references of {w}x{h} pixels; this network takes {self.size}x{self.size}')
        if ref_valid is None:
            ref_valid = torch.ones(b, n, dtype=torch.bool, device=refs.device)
        keep = ref_valid[:, :, None, None, None]
        if mask is not None:
            if mask.shape != (b, n, 1, h, w):
                raise RefStarError(f'mask of shape {tuple(mask.shape)}; expected {(b, n, 1, h, w)}')
            keep = keep & (mask > 0)
        refs = torch.where(keep, refs, torch.zeros_like(refs))
        taps = self.ref_encoder(rearrange(refs, 'b n c h w -> (b n) c h w'))
        taps = {r: rearrange(x, '(b n) ... -> b n ...', n=n) for r, x in taps.items()}
        name = self.fingerprint() if fingerprint else ''
        return ReferenceBank(self.refsel.encode_ref(refs), taps, ref_valid, mask, name)

    def guide(self, lq: Tensor, bank: ReferenceBank) -> dict[str, Any]:
        """Selection and correspondence of a degraded photo and its references.

        Returns:
            dict: ``mask`` (b, n, 1, H, W) in reference coordinates, ``mask_logits`` (the same shape, before the
            sigmoid; None if the mask was given), ``carried`` (b, n, 1, H, W) the masks in LQ coordinates, ``weight``
            (b, n, 1, h, w) share of each reference, ``alpha`` (b, 1, H, W), ``match`` and ``flow`` (b, n, 2, h, w).
        """
        logits, match = self.refsel.compare(lq, bank.match)
        logits = resize_slots(logits, lq.shape[-2:])
        valid = bank.valid[:, :, None, None, None]
        mask = (logits.sigmoid() if bank.mask is None else bank.mask) * valid
        carried = carry(mask, match.flow)
        share = match.mass + torch.log(resize_slots(carried.detach(), match.mass.shape[-2:]) + 1e-6)
        weight = share.masked_fill(~valid, torch.finfo(share.dtype).min).softmax(1)
        alpha = (resize_slots(weight, carried.shape[-2:]) * carried).sum(1)
        return {
            'mask': mask,
            'mask_logits': logits if bank.mask is None else None,
            'carried': carried,
            'weight': weight,
            'alpha': alpha,
            'match': match,
            'flow': match.flow,
        }

    @contextmanager
    def _tapped(self, bank: ReferenceBank, guidance: dict[str, Any], alpha: Tensor) -> Iterator[None]:
        """Mixes reference features into the backbone's taps while the context is open."""
        modules, handles = dict(self.backbone.named_modules()), []
        for (tap, resolution), transfer in zip(self.taps.items(), self.transfer, strict=True):

            def mix(module, inputs, out, transfer=transfer, ref=bank.taps[resolution]):
                return transfer(out, ref, guidance['flow'], guidance['weight'], alpha)

            handles.append(modules[tap].register_forward_hook(mix))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def forward(
        self,
        lq: Tensor,
        refs: Tensor | None = None,
        ref_valid: Tensor | None = None,
        mask: Tensor | None = None,
        strength: float | Tensor = 1.0,
        bank: ReferenceBank | None = None,
        return_aux: bool = False,
        **backbone_kwargs: Any,
    ) -> Any:
        """Restores a face.

        Args:
            lq (Tensor): degraded face, shape (b, 3, H, W), RGB in [-1, 1].
            refs, ref_valid, mask: as in :meth:`encode`; no refs and no bank: the bare backbone.
            strength (float | Tensor): 0 (backbone) to 1; a tensor has shape (b,). Default: 1.
            bank (ReferenceBank | None): encoded references in place of ``refs``, made by a network with these weights.
            return_aux (bool): also return the dict of :meth:`guide` (None without references). Default: False.
            **backbone_kwargs: passed to the backbone.

        Returns:
            What the backbone returns, or (that, dict).
        """
        if refs is not None:
            bank = self.encode(refs, ref_valid, mask, fingerprint=False)
        if bank is None:
            out = self.backbone(lq, **backbone_kwargs)
            return (out, None) if return_aux else out
        if bank.network and bank.network != self.fingerprint():
            raise RefStarError('the reference bank was made by another network; make it again from the photos')
        if lq.shape[-2:] != (self.size, self.size):
            h, w = lq.shape[-2:]
            raise RefStarError(f'photo of {w}x{h} pixels; this network takes {self.size}x{self.size}')
        bank = bank.expand(lq.shape[0])
        guidance = self.guide(lq, bank)
        if isinstance(strength, Tensor):
            strength = strength[:, None, None, None]
        # The restoration loss must not be able to close the gate: only the selection's own losses train alpha.
        alpha = strength * resize(guidance['alpha'].detach(), lq.shape[-2:])
        with self._tapped(bank, guidance, alpha):
            out = self.backbone(lq, **backbone_kwargs)
        return (out, guidance) if return_aux else out
