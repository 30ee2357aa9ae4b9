"""FlowRestorer: a generative backbone. It draws a plausible photo around the mean that another restorer makes.

Axis letters: b batch, H W image size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refstar.utils.archs import build_network, register_arch
from refstar.utils.errors import RefStarError

from .autoencoder_arch import Pixels
from .backbones import fixed_arguments
from .diffusion_path import DiffusionPath
from .euler import euler
from .flow_path import StraightPath
from .layers import from_range, to_range
from .light_arch import FOLD
from .multi_reference import image_of
from .velocity import VelocityNet

Velocity = Callable[[Tensor, Tensor], Tensor]


@dataclass
class FlowSample:
    """What a training compares.

    Attributes:
        prediction, target (Tensor): of the velocity, (b, c, h, w), in the latent space if there is one.
        end (Tensor): where the prediction leads to, (b, c, h, w): a photo, or its latents.
        share (Tensor): how much of the state was photo already, (b,) in [0, 1].
    """

    prediction: Tensor
    target: Tensor
    end: Tensor
    share: Tensor


def draw_noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Draw the noise of a photo, the same on every machine: (1, *shape)."""
    generator = torch.Generator(device='cpu').manual_seed(seed)
    return torch.randn(1, *shape, generator=generator, device='cpu')


@register_arch
class FlowRestorer(nn.Module):
    """Restore a photo by a flow that starts at the noisy mean of another restorer (after PMRF, arXiv 2410.00418).

    Untrained, one step of a flow returns the mean.

    Args:
        mean (dict | None): option block of any registered restorer that keeps the size; it is never trained. Default:
            None, the photo itself.
        channels (list[int]): width of every level of :class:`~refstar.velocity.VelocityNet`. Default: [96, 192].
        blocks (int): residual blocks of a level. Default: 2.
        path (str): 'flow', or 'diffusion': from pure noise, by noise prediction and DDIM; untrained it draws noise.
            Default: 'flow'.
        sigma (float): noise of a flow on the mean, in units of [-1, 1]. Default: 0.2.
        steps (int): steps of a restoration; 0: the mean itself. Default: 4.
        condition (list[str]): what the network sees besides the state: 'lq', 'mean'. Default: both.
        mean_range (tuple | list): black and white of the mean's images. Default: (-1, 1); BasicSR's: (0, 1).
        latent (dict | None): option block of a registered autoencoder with the methods and attributes of
            :class:`~refstar.autoencoder_arch.DiffusersAutoencoder`; it is never trained. Path, noise and network then
            live in its latents. None: in pixels, of which the network folds 4 x 4 into a cell.

    Raises:
        RefStarError: a value has no meaning.
    """

    def __init__(
        self,
        mean: dict | None = None,
        channels: tuple[int, ...] | list[int] = (96, 192),
        blocks: int = 2,
        path: str = 'flow',
        sigma: float = 0.2,
        steps: int = 4,
        condition: tuple[str, ...] | list[str] = ('lq', 'mean'),
        mean_range: tuple[float, float] | list[float] = (-1, 1),
        latent: dict | None = None,
    ) -> None:
        super().__init__()
        if set(condition) - {'lq', 'mean'}:
            raise RefStarError(f'FlowRestorer: condition is {list(condition)}; known are lq, mean')
        if path not in ('flow', 'diffusion'):
            raise RefStarError(f'FlowRestorer: path is {path!r}; known are flow, diffusion')
        if sigma < 0 or blocks < 1 or not channels or min(channels) < 1:
            given = f'sigma {sigma}, channels {list(channels)}, blocks {blocks}'
            raise RefStarError(f'FlowRestorer: {given}: sigma is at least 0, the others are whole numbers from 1')
        self.steps, self.condition, self.mean_range = check_steps(steps), tuple(condition), tuple(mean_range)
        self.mean = build_network(mean).requires_grad_(False).eval() if mean else None
        self.mean_arguments = fixed_arguments(self.mean) if mean else {}
        self.latent = build_network(latent).requires_grad_(False).eval() if latent else Pixels()
        self.path = StraightPath(sigma) if path == 'flow' else DiffusionPath()
        planes, side = self.latent.channels, 1 if latent else FOLD
        self.velocity = VelocityNet(planes * (1 + len(condition)), list(channels), blocks, planes, side)

    def train(self, mode: bool = True) -> 'FlowRestorer':
        """Set the mode; mean and autoencoder stay in evaluation mode."""
        super().train(mode)
        for frozen in filter(None, (self.mean, self.latent)):
            frozen.eval()
        return self

    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape of the noise of a photo of this size, (c, h, w)."""
        return self.latent.channels, height // self.latent.factor, width // self.latent.factor

    @torch.no_grad()
    def restore_mean(self, lq: Tensor) -> Tensor:
        """Return the mean of photos (b, 3, H, W): the same shape and range.

        Raises:
            RefStarError: it is of another size.
        """
        if self.mean is None:
            return lq
        out = image_of(self.mean(to_range(lq, self.mean_range), **self.mean_arguments))
        if out.shape[-2:] != lq.shape[-2:]:
            sizes = [f'{x.shape[-1]}x{x.shape[-2]}' for x in (out, lq)]
            raise RefStarError(f'FlowRestorer: mean makes {sizes[0]} pixels of {sizes[1]}; it must keep the size')
        return from_range(out, self.mean_range)

    def forward(
        self,
        lq: Tensor,
        noise: Tensor | None = None,
        steps: int | None = None,
        seed: int = 0,
        photo: Tensor | None = None,
        velocity: Velocity | None = None,
    ) -> Tensor | FlowSample:
        """Restore photos, or compute what a training compares.

        Args:
            lq (Tensor): photos, (b, 3, H, W), RGB in [-1, 1]; H and W as for the mean, and multiples of 4 (with
                ``latent``: its factor) times two to the number of levels less one.
            noise (Tensor | None): (b, *:meth:`noise_shape`). None: that of the seed, the same for all photos.
            steps (int | None): 0 (the mean) or more. None: as the network was made.
            seed (int): of the noise. Default: 0.
            photo (Tensor | None): ground truth (b, 3, H, W): compute a training sample, with noise and times drawn at
                random, in place of restoring. Default: None.
            velocity: in place of the network, see :meth:`VelocityNet.forward`. Default: None.

        Returns:
            Restored photos (b, 3, H, W), or a :class:`FlowSample`.
        """
        mean, velocity = self.restore_mean(lq), velocity or self.velocity
        steps = self.steps if steps is None else check_steps(steps)
        if steps == 0 and photo is None:
            return mean
        start = self.encode(mean)
        given = [start if name == 'mean' or self.mean is None else self.encode(lq) for name in self.condition]

        def predict(state: Tensor, t: Tensor) -> Tensor:
            seen, time = self.path.seen(state, t)
            out = velocity(torch.cat([seen, *given], 1), time)
            return self.path.guess(state, start, t) + out.type_as(state)

        if photo is not None:
            photo = self.encode(photo)
            t, noise = self.path.draw(lq.shape[0], lq.device), torch.randn_like(photo)
            state, target = self.path.sample(photo, start, noise, t)
            prediction = predict(state, t)
            return FlowSample(prediction, target, self.path.end(state, prediction, t), self.path.share(t))
        if noise is None:
            noise = draw_noise(seed, self.noise_shape(*lq.shape[-2:])).to(lq).expand(lq.shape[0], -1, -1, -1)
        return self.latent.decode(euler(predict, self.path.source(start, noise), self.path.times(steps)))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the latents of images (b, 3, H, W), in the type of the images."""
        return self.latent.encode(images).type_as(images)


def check_steps(steps: int) -> int:
    """Return a number of steps, or raise RefStarError where it is none."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise RefStarError(f'steps is {steps!r}; it is a whole number: 0 (the mean alone) or more')
    return steps
