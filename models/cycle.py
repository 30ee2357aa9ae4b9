"""Options of the cycle pass, and its degradation on the training device."""

import random

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from refstar.layers import resize
from refstar.trainer.run_options import Built
from refstar.utils.option_block import Iterations, IterationsFrom0, Numbers, OptionBlock


class CycleOptions(OptionBlock):
    """Keys of the block `train`."""

    cycle_opt: Built | None = Field(None, description='loss of the cycle pass')
    cycle_every: Iterations = Field(1, description='the cycle pass runs every so many iterations')
    cycle_start: IterationsFrom0 = Field(0, description='first iteration with the cycle pass')
    cycle_down: Numbers = Field([4, 8], description='range of the down-sampling factor that degrades the reference')
    cycle_checkpoint: bool = Field(False, description='recompute the activations of the cycle pass to save memory')


def degrade_reference(x: Tensor, down: tuple[float, float] | list[float], side: int, noise: float = 0.05) -> Tensor:
    """Degrade (b, 3, H, W) in [-1, 1]: area down-sampling by a random factor, noise, resizing to (b, 3, side, side).

    It is lighter than the dataset's degradation: the cycle tests whether reference content arrived, not whether JPEG is
    undone. The factor, in the range ``down``, is drawn once per call.
    """
    size = max(1, round(x.shape[-1] / random.uniform(*down)))
    small = F.interpolate(x, (size, size), mode='area')
    small = small + noise * torch.randn_like(small)
    return resize(small, (side, side)).clamp(-1, 1)
