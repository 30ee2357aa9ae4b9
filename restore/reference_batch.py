"""References as the network takes them: encoded once, put side by side, their masks edited."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from refstar.layers import to_range
from refstar.reference_bank import ReferenceBank
from refstar.utils.image_files import to_tensor

from .references import Reference
from .regions import region
from .restore_settings import Settings


def encode(net: nn.Module, ref: Reference, device: torch.device) -> ReferenceBank:
    """One reference, encoded; kept in it. Where a mask by hand is 0 nothing of the photo is seen."""
    if ref.encoded is None:
        x = to_range(to_tensor(ref.crop)[None, None].to(device), net.value_range)
        mask = None
        if ref.mask is not None:
            mask = torch.from_numpy(fit_mask(ref.mask, ref.crop.shape[0]))[None, None, None].to(device)
        ref.encoded = net.encode(x, mask=mask)
    return ref.encoded


def fit_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask at another size, float32."""
    if mask.shape != (size, size):
        mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA if len(mask) > size else cv2.INTER_LINEAR)
    return np.ascontiguousarray(mask, dtype=np.float32)


def join(banks: Sequence[ReferenceBank], dim: int) -> ReferenceBank:
    """Banks side by side: of one person's references (dim 1), or of several people with as many each (dim 0)."""

    def cat(tensors: list[Tensor]) -> Tensor:
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)

    first = banks[0]
    return replace(
        first,
        match=[cat([bank.match[i] for bank in banks]) for i in range(len(first.match))],
        taps={r: cat([bank.taps[r] for bank in banks]) for r in first.taps},
        valid=cat([bank.valid for bank in banks]),
        mask=None if any(bank.mask is None for bank in banks) else cat([bank.mask for bank in banks]),
        context=None if first.context is None else cat([bank.context for bank in banks]),
    )


def pad(bank: ReferenceBank, slots: int) -> ReferenceBank:
    """A bank with empty, invalid slots at the end."""
    missing = slots - bank.valid.shape[1]
    if not missing:
        return bank

    def fill(x: Tensor) -> Tensor:
        return torch.cat([x, torch.zeros_like(x[:, :1]).expand(-1, missing, *x.shape[2:])], 1)

    return bank.apply(fill)


def edit_masks(
    net: nn.Module, lq: Tensor, bank: ReferenceBank, refs: Sequence[Reference], settings: Settings
) -> ReferenceBank:
    """The bank of one face with its selection changed by the user.

    Args:
        net: RefSTAR.
        lq: the degraded face, (1, 3, H, W), in the network's range.
        bank: of its references, one slot each.
        refs: the references; those with a mask by hand keep it.
        settings: parts to use and to keep, and the threshold.
    """
    size = lq.shape[-1]
    mask = net.select_and_match(net.normalise(lq), [bank.match], bank.valid, None)['mask'].float()
    for i, ref in enumerate(refs):
        if ref.mask is not None:
            mask[:, i] = torch.from_numpy(fit_mask(ref.mask, size)).to(mask)
    if settings.mask_threshold is not None:
        mask = (mask >= settings.mask_threshold).float()
    allowed = np.stack([region(settings.use, settings.keep, ref.points, size) for ref in refs])[None, :, None]
    return replace(bank, mask=mask * torch.from_numpy(allowed).to(mask))


def own_masks(net: nn.Module, lq: Tensor, banks: Sequence[ReferenceBank]) -> list[ReferenceBank]:
    """Banks of a batch of which some have a mask: those without get the one that the network would select."""
    if all(bank.mask is None for bank in banks):
        return list(banks)
    masked = []
    for i, bank in enumerate(banks):
        if bank.mask is None:
            aux = net.select_and_match(net.normalise(lq[i : i + 1]), [bank.match], bank.valid, None)
            bank = replace(bank, mask=aux['mask'])
        masked.append(bank)
    return masked
