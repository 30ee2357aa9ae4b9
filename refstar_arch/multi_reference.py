"""Several references for a network that was trained with one, without training: guidance.

``f(lq, none) + s / N * sum_i (f(lq, ref_i) - f(lq, none))``: the mean of what each reference changes, on top of what
the backbone makes alone. A feed-forward analogue of the averaged noise predictions of arXiv 2505.21905 (its Eqs. 5 and
6), not the same thing. One reference is in memory at a time; the backbone runs once more than there are references.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .reference_bank import ReferenceBank


def guided(
    net: nn.Module,
    lq: Tensor,
    refs: Tensor | None,
    ref_valid: Tensor | None,
    mask: Tensor | None,
    strength: float | Tensor,
    bank: ReferenceBank | None,
    scale: float,
    **backbone_kwargs: Any,
) -> tuple[Any, dict[str, Any]]:
    """Restores with every reference alone and adds up the changes.

    Args:
        net (nn.Module): a :class:`RefSTAR`; the other arguments are those of its ``forward``.
        scale (float): s.

    Returns:
        What the backbone returns without references, its image replaced, and a dict with ``mask`` and ``carried``
        (b, n, 1, H, W), ``flow`` (b, n, 2, h, w) and ``alpha`` (b, 1, H, W), the mean over the valid references.
    """
    if bank is None:
        valid = torch.ones(refs.shape[:2], dtype=torch.bool, device=refs.device) if ref_valid is None else ref_valid
    else:
        bank = bank.expand(lq.shape[0])
        valid = bank.valid
    share = valid / valid.sum(1, keepdim=True).clamp_min(1)
    devices = [lq.device] if lq.is_cuda else []

    change, alpha, parts = 0, 0, []
    start = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, devices)]
    out = net.backbone(lq, **backbone_kwargs)  # the random state goes on as after this one pass
    plain = image_of(out)
    for i in range(valid.shape[1]):
        one = slice(i, i + 1)
        source = {'bank': bank.reference(i)} if bank else {'refs': refs[:, one], 'ref_valid': valid[:, one]}
        if bank is None and mask is not None:
            source['mask'] = mask[:, one]
        with torch.random.fork_rng(devices):  # the same noise in every pass
            torch.set_rng_state(start[0])
            for device, state in zip(devices, start[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            changed, aux = net(lq, strength=strength, return_aux=True, **source, **backbone_kwargs)
        change = change + share[:, i, None, None, None] * (image_of(changed) - plain)
        alpha = alpha + share[:, i, None, None, None] * aux['alpha']
        parts.append({key: aux[key] for key in ('mask', 'carried', 'flow')})
    aux = {key: torch.cat([part[key] for part in parts], 1) for key in parts[0]}
    return replace_image(out, plain + scale * change), {**aux, 'alpha': alpha}


def image_of(out: Any) -> Tensor:
    """The image in what a backbone returns: the value itself, or the first of a tuple."""
    return out if isinstance(out, Tensor) else out[0]


def replace_image(out: Any, image: Tensor) -> Any:
    """What a backbone returned, with another image."""
    return image if isinstance(out, Tensor) else (image, *out[1:])
