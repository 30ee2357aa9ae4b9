"""RefSTAR: any registered backbone, with references.

Axis letters: b batch, n references, c channels, h w feature size, H W image size.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from refstar.utils.errors import RefStarError

from .backbones import default_context_taps, default_taps, measure_context_taps, measure_taps
from .composite_context_arch import CompositeContext
from .context_attention import ContextAttention
from .identity_arch import IdentityEncoder
from .input_checks import check_photos, check_references, check_settings
from .layers import resize_slots, with_slots
from .multi_reference import guided
from .reference_bank import ReferenceBank
from .reference_encoder import ReferenceEncoder
from .refsel_arch import RefSel, carry
from .transfer import Transfer, fetch
from .value_range import from_range
from .vanilla_attention import VanillaAttention

MIX = ('selection', 'everywhere', 'attention')


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
        context (dict | None): arguments of :class:`CompositeContext`, which then conditions the backbone as a whole.
            None: no context.
        context_taps (list[str] | None): module paths that the context conditions. None: the table in ``backbones.py``.
        mix (str): how references meet the backbone at the taps: 'selection', by the convex mix that the selection
            drives. For ablations: 'everywhere', the mix without a selection; 'attention', residual cross-attention.
        value_range (tuple | list): values of a black and of a white pixel in the photos, references and outputs.
            Default: (-1, 1), as GFPGAN and CodeFormer take them; BasicSR's own models take (0, 1).
    """

    option_blocks = {'refsel': RefSel, 'context': CompositeContext}

    def __init__(
        self,
        backbone: dict,
        size: int,
        taps: list[str] | None = None,
        refsel: dict | None = None,
        ref_channels: int = 32,
        structure_size: int = 32,
        context: dict | None = None,
        context_taps: list[str] | None = None,
        mix: str = 'selection',
        value_range: tuple[float, float] | list[float] = (-1, 1),
    ) -> None:
        super().__init__()
        if mix not in MIX:
            raise RefStarError(f'RefSTAR: mix is {mix!r}; known are {", ".join(MIX)}')
        if len(value_range) != 2 or value_range[0] == value_range[1]:
            raise RefStarError(f'RefSTAR: value_range is {value_range}; give two values, of black and of white: [0, 1]')
        if context_taps and context is None:
            raise RefStarError('RefSTAR: context_taps without context has no effect; add context: {}, or leave it out')
        self.size, self.mix, self.value_range = size, mix, tuple(value_range)
        self.backbone = build_network(backbone)
        taps = taps or default_taps(backbone['type'], self.backbone, size)
        shapes = measure_taps(self.backbone, taps, size)
        self.taps = {tap: resolution for tap, (_, resolution) in shapes.items()}
        self.refsel = RefSel(**(refsel or {}))
        self.ref_encoder = ReferenceEncoder(size, list(self.taps.values()), ref_channels)
        if mix == 'attention':
            transfer = [VanillaAttention(c, ref_channels) for c, _ in shapes.values()]
        else:
            transfer = [Transfer(c, ref_channels, structure_size) for c, _ in shapes.values()]
        self.transfer = nn.ModuleList(transfer)
        self.context, self.context_taps = None, []
        if context is not None:
            self.context = CompositeContext(**context)
            self.context_taps = context_taps or default_context_taps(backbone['type'], self.backbone)
            layouts = measure_context_taps(self.backbone, self.context_taps, size)
            self.inject = nn.ModuleList([ContextAttention(c, self.context.dim, axes) for c, axes in layouts])
        self._stamp, self._fingerprint = None, ''

    # ----------------------------------------------------------------- references
    def fingerprint(self) -> str:
        """Identifies the image size, the taps and the weights that make a bank; computed again only if they changed."""
        person = self.refsel.person
        makers = [self.refsel.ref_encoder, self.ref_encoder, *([] if self.context is None else [self.context])]
        weights = [p for maker in makers for p in maker.parameters()]
        stamp = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in weights]
        if stamp != self._stamp:
            frozen = [*makers[2:], *([] if person is None else [person])]
            files = [m.sha256 for maker in frozen for m in maker.modules() if isinstance(m, IdentityEncoder)]
            digest = hashlib.sha256(f'{self.size} {self.refsel.size} {self.taps} {files}'.encode())
            for p in weights:
                digest.update(p.detach().float().cpu().numpy().tobytes())
            self._stamp, self._fingerprint = stamp, digest.hexdigest()[:16]
        return self._fingerprint

    def normalise(self, x: Tensor) -> Tensor:
        """Images in ``value_range`` -> [-1, 1]."""
        return from_range(x, self.value_range)

    def usable(self, refs: Tensor, ref_valid: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """References in [-1, 1], blanked where nothing may be seen of them, and their validity (b, n)."""
        if ref_valid is None:
            ref_valid = torch.ones(refs.shape[:2], dtype=torch.bool, device=refs.device)
        keep = ref_valid[:, :, None, None, None]
        if mask is not None:
            keep = keep & (mask > 0)
        return torch.where(keep, self.normalise(refs), 0.0), ref_valid

    def encode_taps(self, refs: Tensor) -> dict[int, Tensor]:
        """References (b, n, 3, H, W) in [-1, 1] -> features for the transfer by resolution, each (b, n, c, r, r)."""
        return {r: with_slots(x, refs.shape[1]) for r, x in self.ref_encoder(refs.flatten(0, 1)).items()}

    def encode(
        self, refs: Tensor, ref_valid: Tensor | None = None, mask: Tensor | None = None, fingerprint: bool = True
    ) -> ReferenceBank:
        """Encodes references once, for use with any number of photos of this person.

        Args:
            refs (Tensor): references, shape (b, n, 3, H, W), RGB in ``value_range``.
            ref_valid (Tensor | None): bool, shape (b, n); False marks padding slots. None: all are valid.
            mask (Tensor | None): selection masks to use in place of RefSel's, shape (b, n, 1, H, W), in [0, 1].
                Where a mask is 0, the reference is blanked before anything sees it.
            fingerprint (bool): stamp the bank with this network's fingerprint. Default: True.

        Returns:
            ReferenceBank: for the argument ``bank`` of :meth:`forward`.
        """
        check_references(self.size, refs, ref_valid, mask)
        refs, valid = self.usable(refs, ref_valid, mask)
        context = None if self.context is None else self.context(refs)
        name = self.fingerprint() if fingerprint else ''
        return ReferenceBank(self.refsel.encode_ref(refs), self.encode_taps(refs), valid, mask, context, name)

    # ----------------------------------------------------------------- transfer
    def guide(self, lq: Tensor, encoded: Iterable[list[Tensor]], valid: Tensor, mask: Tensor | None) -> dict[str, Any]:
        """Selection and correspondence of a degraded photo and its references.

        Args:
            lq (Tensor): degraded face, (b, 3, H, W), RGB in [-1, 1].
            encoded (Iterable): what ``refsel.encode_ref`` gives, in one or more parts along n.
            valid (Tensor), mask (Tensor | None): as in :meth:`encode`.

        Returns:
            dict: ``mask`` (b, n, 1, H, W) in reference coordinates, ``mask_logits`` (the same shape, before the
            sigmoid; None if the mask was given), ``carried`` (b, n, 1, H, W) the masks in LQ coordinates, ``weight``
            (b, n, 1, h, w) share of each reference, ``alpha`` (b, 1, H, W), ``flow`` (b, n, 2, h, w), and ``match``
            (None if there was more than one part).
        """
        logits, flow, mass, match = [], [], [], None
        for part in encoded:  # of several parts no attention is kept: it is what takes the memory
            logit, found = self.refsel.compare(lq, part)
            match = None if logits else found
            logits.append(logit), flow.append(found.flow), mass.append(found.mass)
        logits, flow, mass = resize_slots(torch.cat(logits, 1), lq.shape[-2:]), torch.cat(flow, 1), torch.cat(mass, 1)
        keep = valid[:, :, None, None, None]
        given, mask = mask is not None, (logits.sigmoid() if mask is None else mask) * keep
        carried = carry(mask, flow)
        share = mass + torch.log(resize_slots(carried.detach(), mass.shape[-2:]) + 1e-6)
        weight = share.masked_fill(~keep, torch.finfo(share.dtype).min).softmax(1)
        alpha = (resize_slots(weight, carried.shape[-2:]) * carried).sum(1)
        return {
            'mask': mask,
            'mask_logits': None if given else logits,
            'carried': carried,
            'weight': weight,
            'alpha': alpha,
            'match': match,
            'flow': flow,
        }

    def bring(self, encoded: Iterable[dict[int, Tensor]], guidance: dict[str, Any]) -> dict[int, Tensor]:
        """All references' features in LQ coordinates, by resolution, each (b, c, r, r); parts along n as in guide."""
        brought, start = dict.fromkeys(self.taps.values(), 0), 0
        for part in encoded:
            slots = slice(start, start + next(iter(part.values())).shape[1])
            start = slots.stop
            for r, feature in part.items():
                brought[r] = brought[r] + fetch(feature, guidance['flow'][:, slots], guidance['weight'][:, slots])
        return brought

    def mixers(
        self, encoded: Iterable[dict[int, Tensor]], aux: dict[str, Any], alpha: Tensor, valid: Tensor, strength: Any
    ) -> dict[str, Callable[[Tensor], Tensor]]:
        """What is done with the output of every tap."""
        if self.mix == 'attention':
            parts = list(encoded)
            refs = {r: torch.cat([part[r] for part in parts], 1) for r in self.taps.values()}
            mixers = [partial(t, valid=valid, strength=strength) for t in self.transfer]
        else:
            refs = self.bring(encoded, aux)
            mixers = [partial(t, alpha=alpha) for t in self.transfer]
        return {tap: partial(mix, ref=refs[r]) for (tap, r), mix in zip(self.taps.items(), mixers, strict=True)}

    @contextmanager
    def _hooked(self, hooks: dict[str, Any]) -> Iterator[None]:
        """While open, the output of each named module of the backbone is replaced by its function's value."""
        modules, handles = dict(self.backbone.named_modules()), []
        for name, change in hooks.items():
            handles.append(modules[name].register_forward_hook(lambda m, inputs, out, change=change: change(out)))
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
        chunk: int | None = None,
        combine: str = 'concat',
        guidance_scale: float = 1.0,
        **backbone_kwargs: Any,
    ) -> Any:
        """Restores a face.

        Args:
            lq (Tensor): degraded face, shape (b, 3, H, W), RGB in ``value_range``.
            refs, ref_valid, mask: as in :meth:`encode`; no refs and no bank: the bare backbone.
            strength (float | Tensor): 0 (backbone) to 1; a tensor has shape (b,). Default: 1.
            bank (ReferenceBank | None): encoded references in place of ``refs``, made by a network with these weights.
            return_aux (bool): also return the dict of :meth:`guide` (None without references). Default: False.
            chunk (int | None): how many references are encoded at a time, to bound the memory. None: all. Without
                effect with a bank, which holds them encoded, and with 'guidance', which takes one at a time.
            combine (str): several references meet inside the network ('concat'), or each restores alone and the mean
                of what they change is added ('guidance', see :mod:`~refstar.multi_reference`). Default: 'concat'.
            guidance_scale (float): factor on that mean. Default: 1.
            **backbone_kwargs: passed to the backbone.

        Returns:
            What the backbone returns, or (that, dict); with 'guidance' its ``mask, carried, flow, alpha``.
        """
        check_settings(strength, chunk, combine, guidance_scale)
        if bank is not None and (refs is not None or ref_valid is not None or mask is not None):
            raise RefStarError('a reference bank holds references, their validity and masks: give it or them, not both')
        if refs is None and bank is None:
            out = self.backbone(lq, **backbone_kwargs)
            return (out, None) if return_aux else out
        check_photos(self.size, lq, refs, strength)
        if refs is not None:
            check_references(self.size, refs, ref_valid, mask)
        if bank is not None and bank.network and bank.network != self.fingerprint():
            raise RefStarError('the reference bank was made by another network; make it again from the photos')
        if combine == 'guidance':
            out, aux = guided(self, lq, refs, ref_valid, mask, strength, bank, guidance_scale, **backbone_kwargs)
            return (out, aux) if return_aux else out

        if bank is None:
            refs, valid = self.usable(refs, ref_valid, mask)
            parts = refs.split(chunk, 1) if chunk else [refs]
            match, taps = (map(f, parts) for f in (self.refsel.encode_ref, self.encode_taps))
            tokens = None if self.context is None else map(self.context, parts)
        else:
            bank = bank.expand(lq.shape[0])
            valid, mask, match, taps, tokens = bank.valid, bank.mask, [bank.match], [bank.taps], [bank.context]
        if mask is None and self.mix == 'everywhere':
            mask = torch.ones_like(lq[:, :1]).expand(-1, valid.shape[1], -1, -1)[:, :, None]
        aux = self.guide(self.normalise(lq), match, valid, mask)
        if isinstance(strength, Tensor):
            strength = strength[:, None, None, None]
        # The restoration loss must not be able to close the gate: only the selection's own losses train alpha.
        alpha = strength * aux['alpha'].detach()
        hooks = self.mixers(taps, aux, alpha, valid, strength)
        if self.context is not None:
            summary, gate = self.context.summarise(tokens, aux['mask'].detach(), aux['alpha'].detach())
            gate = gate * (strength.flatten() if isinstance(strength, Tensor) else strength)
            for tap, inject in zip(self.context_taps, self.inject, strict=True):
                hooks[tap] = partial(inject, tokens=summary, gate=gate)
        with self._hooked(hooks):
            out = self.backbone(lq, **backbone_kwargs)
        return (out, aux) if return_aux else out
