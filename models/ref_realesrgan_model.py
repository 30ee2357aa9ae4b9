"""Real-ESRGAN's model with references: it degrades the photos itself, on the training device; references stay clean.

The base is BasicSR's copy of the model; the package realesrgan is not needed.
"""

import os
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.utils.registry import MODEL_REGISTRY
from einops import rearrange
from pydantic import Field
from torch import Tensor
from torch.utils.data import default_collate

from refstar.trainer.stock_keys import Pair
from refstar.utils.errors import RefStarError
from refstar.utils.option_block import Names, Numbers, OptionBlock, Share

from .reference_mixin import ReferenceMixin

KINDS = ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
REACH = 10  # pixels, half a kernel: a photo must be larger, since it is mirrored at its border
CHANCES = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]


class KernelOptions(OptionBlock):
    """Blur kernels: keys of `RealESRGANDataset`, with the values of Real-ESRGAN's recipe for x4plus."""

    kernel_list: Names = Field(KINDS, description='kinds of kernels of the first blur')
    kernel_prob: Numbers = Field(CHANCES, description='their shares')
    sinc_prob: Share = Field(0.1, description='share of sinc kernels')
    blur_sigma: Pair = Field([0.2, 3.0], description='range of the standard deviation, pixels')
    betag_range: Pair = Field([0.5, 4.0], description='range of the exponent of generalized kernels')
    betap_range: Pair = Field([1.0, 2.0], description='range of the exponent of plateau kernels')
    kernel_list2: Names = Field(KINDS, description='kinds of kernels of the second blur')
    kernel_prob2: Numbers = Field(CHANCES, description='their shares')
    sinc_prob2: Share = Field(0.1, description='share of sinc kernels')
    blur_sigma2: Pair = Field([0.2, 1.5], description='range of the standard deviation, pixels')
    betag_range2: Pair = Field([0.5, 4.0], description='range of the exponent of generalized kernels')
    betap_range2: Pair = Field([1.0, 2.0], description='range of the exponent of plateau kernels')
    final_sinc_prob: Share = Field(0.8, description='share of photos with a last sinc kernel')


class Kernels(RealESRGANDataset):
    """BasicSR's data set of one black pixel, for the kernels that it draws beside it."""

    def __init__(self, options: KernelOptions) -> None:
        nothing = {'io_backend': {'type': 'disk'}, 'dataroot_gt': '', 'meta_info': os.devnull}
        unused = {'use_hflip': False, 'use_rot': False, 'blur_kernel_size': None, 'blur_kernel_size2': None}
        super().__init__({**options.model_dump(), **nothing, **unused})
        pixel = cv2.imencode('.png', np.zeros((1, 1, 3), np.uint8))[1].tobytes()
        self.paths, self.file_client = [''], SimpleNamespace(get=lambda path, key: pixel)

    def draw(self, count: int) -> dict[str, Tensor]:
        """Draw ``kernel1, kernel2, sinc_kernel``, each (count, 21, 21), from the random states of Python and numpy."""
        names = ('kernel1', 'kernel2', 'sinc_kernel')
        return default_collate([{name: sample[name] for name in names} for sample in (self[0] for _ in range(count))])


@MODEL_REGISTRY.register()
class RefRealESRGANModel(ReferenceMixin, RealESRGANModel):
    """``RealESRGANModel`` with references. The data set gives ``gt`` and references; its ``lq`` is used in tests.

    Faces are aligned, so nothing is cropped: the option ``gt_size`` is the side of the network's output. With
    ``high_order_degradation: false`` training uses ``lq`` too.
    """

    class Options(ReferenceMixin.Options):
        """Keys of option files."""

        kernels: KernelOptions | None = Field(
            None, description='blur kernels of the degradation: keys of RealESRGANDataset (default: those of x4plus)'
        )

    def __init__(self, opt: dict) -> None:
        super().__init__(opt)
        self.kernels, size = None, self.networks()[0].size
        if not self.is_train or not opt.get('high_order_degradation', True):
            return
        options = KernelOptions.read(opt.get('kernels') or {}, 'kernels')
        for part in ('', '2'):
            kinds, shares = (getattr(options, f'kernel_{name}{part}') for name in ('list', 'prob'))
            if len(kinds) != len(shares) or not set(kinds) <= set(KINDS):
                raise RefStarError(f'kernels:kernel_list{part}: one kernel_prob{part} each, of {", ".join(KINDS)}')
        if opt.get('gt_size') != size:
            raise RefStarError(
                f'gt_size: {opt.get("gt_size")}, but faces are not cropped; write network_g.size, {size}'
            )
        least = int(size * min(1, opt['resize_range'][0], 1 / self.networks()[0].scale))
        if least <= REACH:
            raise RefStarError(
                f'resize_range: faces of {size} pixels become as small as {least}, but the kernels need photos of at '
                f'least {REACH + 1} pixels'
            )
        self.kernels = Kernels(options)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Feed a batch; in training draw its blur kernels, where the data set gives none."""
        if self.is_train and self.kernels is not None and 'kernel1' not in data:
            data = {**data, **self.kernels.draw(len(data['gt']))}
        super().feed_data(data)

    def _dequeue_and_enqueue(self) -> None:
        """Let the references go through the pool of earlier photos with their photo, as channels of it."""
        refs, valid = self.references['refs'], self.references['ref_valid']
        n, (h, w) = refs.shape[1], refs.shape[-2:]
        marks = valid[:, :, None, None].expand(-1, -1, h, w).to(refs)
        self.gt = torch.cat([self.gt, refs.flatten(1, 2), marks], 1)
        super()._dequeue_and_enqueue()
        gt, refs, marks = self.gt.split([3, 3 * n, n], 1)
        self.gt, refs = gt.contiguous(), rearrange(refs, 'b (n c) h w -> b n c h w', n=n)
        self.references = {**self.references, 'refs': refs, 'ref_valid': marks[:, :, 0, 0] > 0}
