"""Several references for a network that was trained with one, without training: guidance.

``f(lq, none) + s / N * sum_i (f(lq, ref_i) - f(lq, none))``: the mean of what each reference changes, added to what
there is without any. For a generative backbone ``f`` is the velocity of every step: as the weights of the velocities
sum to one, this equals averaging noise predictions (arXiv 2505.21905, Eqs. 5 and 6), and with one reference it is
classifier-free guidance. For other backbones ``f`` is the image: a feed-forward analogue, not the same thing.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .backbones import replaced_outputs
from .reference_bank import EncodedReferences

# What a reference changes: functions of the outputs of modules, and the dict of `RefSTAR.select_and_match`.
Changes = Callable[[EncodedReferences], tuple[dict[str, Callable[[Any], Any]], dict[str, Any]]]


def guided(
    backbone: nn.Module, run: Callable[..., Any], changes: Changes, references: EncodedReferences, scale: float
) -> tuple[Any, dict[str, Any]]:
    """Restore with every reference alone and add the mean change to what there is without references.

    The image is averaged with one reference in memory at a time, in one pass more than there are references; a
    velocity with the features of all, in as many calls a step, and one more unless ``scale`` is 1.

    Args:
        backbone: generative if it has a module ``velocity``.
        run: runs it on the photos. Its random state is kept as after one plain pass.
        changes: see ``RefSTAR.changes``.
        references: b people with n references each, one part per reference.
        scale (float): s.

    Returns:
        tuple: what the backbone returns without references, its image replaced; and a dict with ``mask`` and
        ``carried`` (b, n, 1, H, W), ``flow`` (b, n, 2, h, w) and ``alpha`` (b, 1, H, W), the mean over the valid
        references.
    """
    share = references.valid / references.valid.sum(1, keepdim=True).clamp_min(1)
    shares = [x[:, None, None, None] for x in share.unbind(1)]
    average = average_velocities if hasattr(backbone, 'velocity') else average_images
    out, found = average(backbone, run, map(changes, references.one_by_one()), shares, scale)
    aux = {key: torch.cat([one[key] for one in found], 1) for key in ('mask', 'carried', 'flow')}
    alpha = sum(share * one['alpha'] for share, one in zip(shares, found, strict=True))
    return out, {**aux, 'alpha': alpha}


def average_images(
    backbone: nn.Module, run: Callable[..., Any], changed: Iterable, shares: list[Tensor], scale: float
) -> tuple[Any, list[dict[str, Any]]]:
    """Average what references change in the image; the result, and the dict of every reference."""
    devices = [shares[0].device] if shares[0].is_cuda else []
    start = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, devices)]
    out, change, found = run(), 0, []
    image = image_of(out)
    for share, (functions, aux) in zip(shares, changed, strict=True):
        with torch.random.fork_rng(devices), replaced_outputs(backbone, functions):  # the same noise in every pass
            torch.set_rng_state(start[0])
            for cuda, state in zip(devices, start[1:], strict=True):
                torch.cuda.set_rng_state(state, cuda)
            change = change + share * (image_of(run()) - image)
        found.append({key: aux[key] for key in ('mask', 'carried', 'flow', 'alpha')})
    return with_image(out, image + scale * change), found


def average_velocities(
    backbone: nn.Module, run: Callable[..., Any], changed: Iterable, shares: list[Tensor], scale: float
) -> tuple[Any, list[dict[str, Any]]]:
    """Average what references change in the velocity of every step; arguments and result as above."""
    functions, found = zip(*changed, strict=True)

    def with_reference(change: dict[str, Any], *seen: Tensor) -> Tensor:
        with replaced_outputs(backbone, change):
            return backbone.velocity(*seen)

    def velocity(*seen: Tensor) -> Tensor:
        each = [with_reference(change, *seen) for change in functions]
        # With all of scale 1 the plain velocity drops out. The first is the plain one if there is no valid reference.
        begin = each[0] if scale == 1 else backbone.velocity(*seen)
        return begin + scale * sum(share * (one - begin) for share, one in zip(shares, each, strict=True))

    return run(velocity=velocity), found


def image_of(out: Any) -> Tensor:
    """Return the image in a backbone's output: the output itself, or the first of a tuple."""
    return out if isinstance(out, Tensor) else out[0]


def with_image(out: Any, image: Tensor) -> Any:
    """Return a backbone's output with another image in it."""
    return image if isinstance(out, Tensor) else (image, *out[1:])
