"""What the backbones return, under one set of names."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Output:
    """A backbone's output.

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
    """Sorts what a backbone returned: image; (image, pyramid or None); (image, logits, feature); (logits, feature)."""
    if isinstance(out, Tensor):
        return Output(out)
    if isinstance(out[-1], Tensor):
        return Output(out[0] if len(out) == 3 else None, [], *out[-2:])
    return Output(out[0], out[1] or [])
