"""Solver of generative backbones: Euler's method."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor


def euler(velocity: Callable[[Tensor, Tensor], Tensor], state: Tensor, times: Sequence[float]) -> Tensor:
    """Follow a velocity from the first time to the last, in straight steps.

    Args:
        velocity: function of a state and its time (b,).
        state (Tensor): (b, c, H, W), at the first time.
        times (Sequence[float]): where steps begin and end, rising or falling.
    """
    for now, then in pairwise(times):
        state = state + (then - now) * velocity(state, torch.full_like(state[:, 0, 0, 0], now))
    return state
