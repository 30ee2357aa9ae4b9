"""Path of the flow: a straight line from the mean with some noise to the photo (after PMRF, arXiv 2410.00418).

``x_t = (1 - t) z0 + t x1`` with ``z0 = mean + sigma * noise``; what is predicted is its velocity ``x1 - z0``.

Axis letters: b batch, H W image size. Images are RGB in [-1, 1]; ``t`` has the shape (b,).
"""

import torch
from torch import Tensor


def stratified(batch: int, device: torch.device) -> Tensor:
    """Draw one number from each of ``batch`` equal parts of [0, 1), in random order: (b,)."""
    return (torch.randperm(batch, device=device) + torch.rand(batch, device=device)) / batch


class StraightPath:
    """Lead from a noisy mean (t = 0) to the photo (t = 1).

    Args:
        sigma (float): standard deviation of the noise, in units of the images. PMRF's 0.1 for [0, 1] is 0.2 here.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def times(self, steps: int) -> list[float]:
        """Return the times at which ``steps`` steps begin and end."""
        return [i / steps for i in range(steps + 1)]

    def draw(self, batch: int, device: torch.device) -> Tensor:
        """Draw times for training."""
        return stratified(batch, device)

    def source(self, mean: Tensor, noise: Tensor) -> Tensor:
        """Return the state at the first time, (b, 3, H, W)."""
        return mean + self.sigma * noise

    def sample(self, photo: Tensor, mean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state at ``t`` on the way to a photo, and what is to be predicted there."""
        source = self.source(mean, noise)
        return torch.lerp(source, photo, t[:, None, None, None]), photo - source

    def seen(self, state: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network sees of a state: an image of size about 1, and the time in [0, 1]."""
        return state, t

    def guess(self, state: Tensor, mean: Tensor, t: Tensor) -> Tensor:
        """Guess the velocity; the network adds the rest.

        It is the best linear guess where the photo differs from the mean as much as the noise does. It spares the
        network to carry the noise through: untrained, one step of it leads to the mean.
        """
        t = t[:, None, None, None]
        return (2 * t - 1) / (t**2 + (1 - t) ** 2) * (state - mean)

    def end(self, state: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """Return the photo that a prediction leads to."""
        return state + (1 - t)[:, None, None, None] * prediction

    def share(self, t: Tensor) -> Tensor:
        """Return how much of a state is photo already, in [0, 1]: (b,)."""
        return t
