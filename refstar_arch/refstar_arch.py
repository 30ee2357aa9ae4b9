"""RefSTAR: any registered backbone, with references.

The steps of a forward pass are methods: ``mask_references``, ``select_and_match``, ``gather_features``, and
``tap_functions``, which :func:`~refstar.backbones.replaced_outputs` injects into the backbone.

Axis letters: b batch, n references, c channels, h w feature size, H W size of output and references.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from refstar.utils.archs import build_network, register_arch
from refstar.utils.errors import RefStarError

from .backbones import chosen_taps, copy_to_measure, measure_context_taps, measure_taps, replaced_outputs
from .composite_context_arch import CompositeContext, ContextAttention
from .identity_arch import IdentityEncoder
from .input_checks import check_photos, check_ranges, check_references, check_settings
from .known_bands import keep_known
from .layers import from_range, resize_refs, split_refs
from .multi_reference import guided
from .reference_bank import EncodedReferences, ReferenceBank, fingerprint_of
from .refsel_arch import RefSel
from .transfer import build_transfer, gather


@register_arch
class RefSTAR(nn.Module):
    """Backbone with reference selection and transfer.

    Without a valid reference, at strength 0 or with an all-zero mask, the output is the backbone's, bit for bit.

    Args:
        backbone (dict): option block of any registered arch.
        size (int): side H = W of output, references and masks; the photo's is ``lq_size``.
        taps (list[str] | None): outputs of the backbone that receive references. None: the table in ``backbones.py``.
        inputs (list[str] | None): outputs of first convolutions that get them as a further input. None: that table.
        refsel (dict | None): arguments of :class:`RefSel`. None: its defaults.
        ref_channels (int): width of the reference encoder. Default: 32.
        structure_size (int): structure grid of the transfer, about the pixels that the degradation leaves. Default: 32.
        pixels (int): taps receive the references' own pixels, at so many times their resolution, folded into channels.
            Default: 0, encoded features.
        context (dict | None): arguments of :class:`CompositeContext`, which then conditions the backbone. None: none.
        context_taps (list[str] | None): outputs that the context conditions. None: that table.
        value_range (tuple | list): black and white of photos, references, outputs. Default: (-1, 1); BasicSR's: (0, 1)
        known (tuple | list | None): limits of :func:`~refstar.known_bands.keep_known`, used in evaluation mode.

    Attributes:
        scale, lq_size (int): how many times the backbone enlarges a photo (measured); its side, ``size // scale``.

    Raises:
        RefStarError: an option has no meaning, or the backbone does not fit the size or the taps.

    Example:
        >>> import torch
        >>> from refstar import RefSTAR
        >>> backbone = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 1, 'num_feat': 8, 'num_block': 1}
        >>> net = RefSTAR(backbone, size=32, refsel={'size': 32, 'channels': 8}).eval()
        >>> photo, references = 2 * torch.rand(1, 3, 32, 32) - 1, 2 * torch.rand(1, 2, 3, 32, 32) - 1
        >>> net(photo, references).shape
        torch.Size([1, 3, 32, 32])
        >>> torch.equal(net(photo, references, strength=0), net.backbone(photo))
        True
    """

    option_blocks = {'refsel': RefSel, 'context': CompositeContext}

    def __init__(
        self,
        backbone: dict,
        size: int,
        taps: list[str] | None = None,
        inputs: list[str] | None = None,
        refsel: dict | None = None,
        ref_channels: int = 32,
        structure_size: int = 32,
        pixels: int = 0,
        context: dict | None = None,
        context_taps: list[str] | None = None,
        value_range: tuple[float, float] | list[float] = (-1, 1),
        known: tuple[float, float] | list[float] | None = None,
    ) -> None:
        super().__init__()
        check_ranges(value_range, known)
        if context_taps is not None and bool(context_taps) != (context is not None):
            raise RefStarError('RefSTAR: context_taps and context have no effect without each other')
        self.size, self.value_range, self.known = size, tuple(value_range), known
        self.backbone = build_network(backbone)
        measured, self.scale = copy_to_measure(self.backbone, size)
        self.lq_size = size // self.scale
        place = backbone['type'], self.backbone, size
        taps, inputs = chosen_taps(*place, 'taps', taps), chosen_taps(*place, 'inputs', inputs)
        if not taps and not inputs and context is None:
            raise RefStarError('RefSTAR: without taps, inputs and context no reference has an effect; give one of them')
        shapes = measure_taps(measured, [*taps, *inputs], self.lq_size)
        self.taps = {tap: r * max(pixels, 1) for tap, (_, r) in shapes.items()}  # resolution of its reference features
        self.refsel = RefSel(**(refsel or {}))
        self.ref_encoder, self.transfer = build_transfer(size, shapes, inputs, ref_channels, structure_size, pixels)
        self.context, self.context_taps = None, []
        if context is not None:
            self.context = CompositeContext(**context)
            self.context_taps = chosen_taps(*place, 'context_taps', context_taps)
            if set(self.taps) & set(self.context_taps):
                raise RefStarError('RefSTAR: a module cannot be both in taps and in context_taps')
            layouts = measure_context_taps(measured, self.context_taps, self.lq_size)
            self.inject = nn.ModuleList([ContextAttention(c, self.context.dim, axes) for c, axes in layouts])
        self._fingerprint: str | None = None
        self.register_load_state_dict_post_hook(RefSTAR._forget_fingerprint)

    # ----------------------------------------------------------------- references
    def train(self, mode: bool = True) -> 'RefSTAR':
        """Set the mode; the fingerprint is computed again."""
        self._forget_fingerprint()
        return super().train(mode)

    def _forget_fingerprint(self, keys: Any = None) -> None:
        self._fingerprint = None

    def fingerprint(self) -> str:
        """Identify what makes a bank; in evaluation mode cached until weights are loaded or the mode is set."""
        if self._fingerprint is None or self.training:
            encoders = [self.refsel.ref_encoder, self.ref_encoder, *([] if self.context is None else [self.context])]
            files = [m.sha256 for m in reversed(list(self.modules())) if isinstance(m, IdentityEncoder)]
            self._fingerprint = fingerprint_of(f'{self.size} {self.refsel.size} {self.taps} {files}', encoders)
        return self._fingerprint

    def normalise(self, x: Tensor) -> Tensor:
        """Map images in ``value_range`` to [-1, 1]."""
        return from_range(x, self.value_range)

    def mask_references(self, refs: Tensor, ref_valid: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Blank references where they are padding or a given mask is 0; arguments as of :meth:`encode`.

        Returns:
            tuple: references (b, n, 3, H, W) in [-1, 1], and their validity (b, n), bool.
        """
        if ref_valid is None:
            ref_valid = torch.ones(refs.shape[:2], dtype=torch.bool, device=refs.device)
        keep = ref_valid[:, :, None, None, None]
        keep = keep if mask is None else keep & (mask > 0)
        return torch.where(keep, self.normalise(refs), 0.0), ref_valid

    def encode_taps(self, refs: Tensor) -> dict[int, Tensor]:
        """Encode references (b, n, 3, H, W) in [-1, 1] for the transfer: {resolution r: (b, n, c, r, r)}."""
        return {r: split_refs(x, refs.shape[1]) for r, x in self.ref_encoder(refs.flatten(0, 1)).items()}

    def encode(self, refs: Tensor, ref_valid: Tensor | None = None, mask: Tensor | None = None) -> ReferenceBank:
        """Encode references once, for use with any number of photos of this person.

        Args:
            refs (Tensor): references, shape (b, n, 3, H, W), RGB in ``value_range``.
            ref_valid (Tensor | None): bool, shape (b, n); False marks padding. None: all are valid.
            mask (Tensor | None): selection in place of RefSel's, (b, n, 1, H, W) in [0, 1]. Where it is 0, the
                reference is blanked before anything sees it.

        Returns:
            ReferenceBank: for the argument ``bank`` of :meth:`forward`.
        """
        check_references(self.size, refs, ref_valid, mask)
        refs, valid = self.mask_references(refs, ref_valid, mask)
        context = None if self.context is None else self.context(refs)
        match, taps = self.refsel.encode_ref(refs), self.encode_taps(refs)
        return ReferenceBank(match, taps, valid, mask, context, self.fingerprint())

    def encode_in_parts(
        self, refs: Tensor, ref_valid: Tensor | None, mask: Tensor | None, chunk: int | None
    ) -> EncodedReferences:
        """Encode references ``chunk`` at a time, each part when it is read; other arguments as of :meth:`encode`."""
        refs, valid = self.mask_references(refs, ref_valid, mask)
        parts = refs.split(chunk, 1) if chunk else [refs]
        context = [None] * len(parts) if self.context is None else map(self.context, parts)
        return EncodedReferences(map(self.refsel.encode_ref, parts), map(self.encode_taps, parts), context, valid, mask)

    # ----------------------------------------------------------------- selection and transfer
    def select_and_match(
        self, lq: Tensor, encoded: Iterable[list[Tensor]], valid: Tensor, mask: Tensor | None
    ) -> dict[str, Any]:
        """Compute selection, correspondence and the share of each reference.

        Args:
            lq (Tensor): degraded face, (b, 3, lq_size, lq_size), RGB in [-1, 1].
            encoded (Iterable): results of ``refsel.encode_ref``, in one or more parts along n.
            valid (Tensor), mask (Tensor | None): as in :meth:`encode`.

        Returns:
            dict: that of :meth:`RefSel.select`; ``weight`` (b, n, 1, h, w), the share of each reference; ``alpha``
            (b, 1, H, W) in [0, 1], the selection of all in LQ coordinates.
        """
        aux = self.refsel.select(lq, encoded, (self.size, self.size), valid, mask)
        mass, carried = aux.pop('mass'), aux['carried']
        share = mass + torch.log(resize_refs(carried.detach(), mass.shape[-2:]) + 1e-6)
        weight = share.masked_fill(~valid[:, :, None, None, None], torch.finfo(share.dtype).min).softmax(1)
        alpha = (resize_refs(weight, carried.shape[-2:]) * carried).sum(1)
        return {**aux, 'weight': weight, 'alpha': alpha}

    def gather_features(self, encoded: Iterable[dict[int, Tensor]], aux: dict[str, Any]) -> dict[int, Tensor]:
        """Warp features of :meth:`encode_taps`, in parts along n, into LQ coordinates; sum them: {r: (b, c, r, r)}."""
        return gather(encoded, list(self.taps.values()), aux['flow'], aux['weight'])

    def tap_functions(
        self, features: dict[int, Tensor], aux: dict[str, Any], strength: float | Tensor
    ) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return for every tap the function that mixes gathered features into its output.

        ``aux`` is that of :meth:`select_and_match`; strength is a number, or has the shape (b, 1, 1, 1).
        """
        # The restoration loss must not be able to close the gate: only the selection's own losses train alpha.
        alpha = strength * aux['alpha'].detach()
        taps = zip(self.taps.items(), self.transfer, strict=True)
        return {tap: partial(transfer, ref=features[r], alpha=alpha) for (tap, r), transfer in taps}

    def context_functions(
        self, tokens: Iterable[Tensor | None], aux: dict[str, Any], strength: float | Tensor
    ) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return for every context tap the function that conditions its output; arguments as :meth:`tap_functions`."""
        if self.context is None:
            return {}
        summary, gate = self.context.summarise(tokens, aux['mask'].detach(), aux['alpha'].detach())
        gate = gate * (strength.flatten() if isinstance(strength, Tensor) else strength)
        taps = zip(self.context_taps, self.inject, strict=True)
        return {tap: partial(attention, tokens=summary, gate=gate) for tap, attention in taps}

    def changes(
        self, lq: Tensor, strength: float | Tensor, references: EncodedReferences
    ) -> tuple[dict[str, Callable[[Any], Any]], dict[str, Any]]:
        """Return what encoded references of b people change in the backbone; other arguments as of :meth:`forward`.

        Returns:
            tuple: functions of the outputs of its modules, and the dict of :meth:`select_and_match`.
        """
        strength = strength[:, None, None, None] if isinstance(strength, Tensor) else strength
        aux = self.select_and_match(self.normalise(lq), references.match, references.valid, references.mask)
        functions = self.tap_functions(self.gather_features(references.taps, aux), aux, strength)
        return functions | self.context_functions(references.context, aux, strength), aux

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
        """Restore faces.

        Args:
            lq (Tensor): degraded face, shape (b, 3, lq_size, lq_size), RGB in ``value_range``.
            refs, ref_valid, mask: as in :meth:`encode`; no refs and no bank: the bare backbone.
            strength (float | Tensor): 0 (backbone) to 1; a tensor has shape (b,). Default: 1.
            bank (ReferenceBank | None): encoded references in place of ``refs``, made by a network with these weights.
            return_aux (bool): also return the dict of :meth:`select_and_match`, or None. Default: False.
            chunk (int | None): references that are encoded at a time; None: all. No effect with a bank or 'guidance'.
            combine (str): 'concat' (default): references meet inside the network. 'guidance': each restores alone and
                the mean change is added, see :mod:`~refstar.multi_reference`.
            guidance_scale (float): factor on that mean. Default: 1.
            **backbone_kwargs: passed to the backbone.

        Returns:
            What the backbone returns, or (that, dict); with 'guidance' its ``mask, carried, flow, alpha``.

        Raises:
            RefStarError: an argument has no meaning or another shape, or the bank was made by another network.
        """
        check_settings(strength, chunk, combine, guidance_scale)
        if bank is not None and any(given is not None for given in (refs, ref_valid, mask)):
            raise RefStarError('a reference bank holds references, their validity and masks: give it or them, not both')
        if refs is None and bank is None:
            out = self.backbone(lq, **backbone_kwargs)
            return (out, None) if return_aux else out
        check_photos(self.lq_size, lq, refs, strength)
        one_by_one = combine == 'guidance'
        if bank is None:
            check_references(self.size, refs, ref_valid, mask)
            references = self.encode_in_parts(refs, ref_valid, mask, 1 if one_by_one else chunk)
        else:
            if bank.network and bank.network != self.fingerprint():
                raise RefStarError('the reference bank was made by another network; make it again from the photos')
            references = bank.expand(lq.shape[0]).encoded(one_by_one)
        changes = partial(self.changes, lq, strength)
        if one_by_one:
            run = partial(self.backbone, lq, **backbone_kwargs)
            out, aux = guided(self.backbone, run, changes, references, guidance_scale)
        else:
            functions, aux = changes(references)
            with replaced_outputs(self.backbone, functions):
                out = self.backbone(lq, **backbone_kwargs)
        if self.known and not self.training:
            out = keep_known(out, self.backbone(lq, **backbone_kwargs), aux['alpha'], self.known)
        return (out, aux) if return_aux else out
