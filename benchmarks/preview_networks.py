"""A previewed reference (after InstantIR) as an arch: load it with ``--import``, this folder on PYTHONPATH.

Axis letters: b batch, n references, H W image size.
"""

from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from refstar import RefSTAR


@ARCH_REGISTRY.register()
class RefSTARPreview(RefSTAR):
    """RefSTAR whose reference is what its own FlowRestorer makes of the photo first, without references.

    Args:
        preview (int): steps of that first pass; 0: the mean.
        kwargs: options of :class:`RefSTAR`.
    """

    def __init__(self, preview: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.preview = preview

    def forward(self, lq: Tensor, refs: Tensor | None = None, ref_valid: Tensor | None = None, **kwargs: Any) -> Any:
        """Restore photos (b, 3, H, W); given references are not used."""
        with torch.no_grad():
            preview = self.backbone(lq, steps=self.preview)
        return super().forward(lq, preview[:, None], None, **kwargs)
