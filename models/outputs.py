"""Outputs of the backbones under one set of names."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Output:
    """Output of a backbone.

    Attributes:
        image (Tensor | None): (b, 3, H, W); None if only codes were asked for (CodeFormer's ``code_only``).
        pyramid (list[Tensor]): smaller images (GFPGAN).
        logits (Tensor | None): predicted codes (b, h*w, k) (CodeFormer).
        feature (Tensor | None): features of the degraded photo, (b, c, h, w) (CodeFormer).
    """

    image: Tensor | None
    pyramid: list[Tensor] = field(default_factory=list)
    logits: Tensor | None = None
    feature: Tensor | None = None


def read_output(out: Any) -> Output:
    """Name the parts of a backbone's output.

    It is an image, or a tuple: (image, list of images or anything) of GFPGAN and RestoreFormer, (image, logits,
    feature) of CodeFormer, or (logits, feature) of CodeFormer with ``code_only``; logits have 3 axes.
    """
    if isinstance(out, Tensor):
        return Output(out)
    first, *rest = out
    if first.ndim == 3:
        return Output(None, [], first, rest[0])
    if len(rest) == 2 and isinstance(rest[0], Tensor) and rest[0].ndim == 3:
        return Output(first, [], *rest)
    return Output(first, rest[0] if rest and isinstance(rest[0], list) else [])
