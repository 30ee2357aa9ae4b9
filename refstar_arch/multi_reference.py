"""Several references for a network that was trained with one, without training: guidance.

``f(lq, none) + s / N * sum_i (f(lq, ref_i) - f(lq, none))``: the mean of what each reference changes, added to what
the backbone makes alone. A feed-forward analogue of the averaged noise predictions of arXiv 2505.21905 (its Eqs. 5 and
6), not the same thing. One reference is in memory at a time. The backbone runs once more than there are references.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .reference_bank import EncodedReferences


def guided(
    plain: Callable[[], Any],
    restore: Callable[[EncodedReferences], tuple[Any, dict[str, Any]]],
    references: EncodedReferences,
    scale: float,
    device: torch.device,
) -> tuple[Any, dict[str, Any]]:
    """Restore with every reference alone and add the mean change to the plain result.

    Args:
        plain: runs the backbone without references.
        restore: runs the network with the given references, see :meth:`RefSTAR.restore`.
        references: b people with n references each, one part per reference.
        scale (float): s.
        device: where the network runs; its random state is kept as after one plain pass.

    Returns:
        tuple: what the backbone returns without references, its image replaced; and a dict with ``mask`` and
        ``carried`` (b, n, 1, H, W), ``flow`` (b, n, 2, h, w) and ``alpha`` (b, 1, H, W), the mean over the valid
        references.
    """
    devices = [device] if device.type == 'cuda' else []
    share = references.valid / references.valid.sum(1, keepdim=True).clamp_min(1)
    start = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, devices)]
    out = plain()
    image = image_of(out)
    change, alpha, parts = 0, 0, []
    for i, reference in enumerate(references.one_by_one()):
        with torch.random.fork_rng(devices):  # the same noise in every pass
            torch.set_rng_state(start[0])
            for cuda, state in zip(devices, start[1:], strict=True):
                torch.cuda.set_rng_state(state, cuda)
            changed, aux = restore(reference)
        change = change + share[:, i, None, None, None] * (image_of(changed) - image)
        alpha = alpha + share[:, i, None, None, None] * aux['alpha']
        parts.append({key: aux[key] for key in ('mask', 'carried', 'flow')})
    aux = {key: torch.cat([part[key] for part in parts], 1) for key in parts[0]}
    image = image + scale * change
    return image if isinstance(out, Tensor) else (image, *out[1:]), {**aux, 'alpha': alpha}


def image_of(out: Any) -> Tensor:
    """Return the image in a backbone's output: the output itself, or the first of a tuple."""
    return out if isinstance(out, Tensor) else out[0]
