"""Path of diffusion: from pure noise to the photo, with the schedule of ReF-LDM (arXiv 2412.05043).

The usual state ``sqrt(a) x1 + sqrt(1 - a) noise`` is kept divided by ``sqrt(a)``: it is ``x1 + t * noise`` with
``t = sqrt((1 - a) / a)``. The noise, which is what is predicted, is then the velocity along ``t``, and Euler's method
is DDIM without noise of its own (arXiv 2010.02502, Eq. 14).

Axis letters: b batch, H W image size. Images are RGB in [-1, 1]; ``t`` has the shape (b,).
"""

import math

import torch
from torch import Tensor, nn

from .flow_path import stratified

LEVELS, BETAS = 1000, (0.0015, 0.0155)  # of the schedule: linear in the square roots


class DiffusionPath(nn.Module):
    """Lead from noise (large t) to the photo (t = 0); methods as of :class:`~refstar.flow_path.StraightPath`.

    Attributes:
        levels (Tensor): t of every level of noise, rising, (1000,).
    """

    def __init__(self) -> None:
        super().__init__()
        betas = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, LEVELS, dtype=torch.float64, device='cpu') ** 2
        kept = torch.cumprod(1 - betas, 0)
        levels = ((1 - kept) / kept).sqrt().float()
        self.values = levels.tolist()
        self.register_buffer('levels', levels, persistent=False)

    def times(self, steps: int) -> list[float]:
        """Return the times of DDIM with "trailing" spacing: from the noisiest level down to none."""
        return [*(self.values[LEVELS - 1 - i * LEVELS // steps] for i in range(steps)), 0.0]

    def draw(self, batch: int, device: torch.device) -> Tensor:
        return self.levels.to(device)[(stratified(batch, device) * LEVELS).long()]

    def source(self, mean: Tensor, noise: Tensor) -> Tensor:
        return noise * math.hypot(1, self.values[-1])

    def sample(self, photo: Tensor, mean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return photo + t[:, None, None, None] * noise, noise

    def seen(self, state: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.share(t)[:, None, None, None]
        return state * scale, torch.searchsorted(self.levels, t.contiguous()) / (LEVELS - 1)

    def guess(self, state: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(state)

    def end(self, state: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        return state - t[:, None, None, None] * prediction

    def share(self, t: Tensor) -> Tensor:
        """Return ``sqrt(a)``, by which the identity loss of arXiv 2505.21905 counts: (b,)."""
        return (1 + t**2).rsqrt()
