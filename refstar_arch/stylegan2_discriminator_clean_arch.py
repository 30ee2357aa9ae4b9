"""StyleGAN2's discriminator in plain torch: any device, any order of derivative, BasicSR's state dicts.

BasicSR's `StyleGAN2Discriminator` needs compiled CUDA operators. This one has parameters of the same names and shapes,
so that a state dict loads in either one, and computes the same values.

Axis letters: b batch, c channels, h w feature size.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from refstar.utils.archs import register_arch
from refstar.utils.errors import RefStarError

ACT_GAIN = math.sqrt(2)  # keeps the variance through a leaky ReLU


class ScaledConv(nn.Module):
    """Convolution whose weight is scaled at run time by 1 / sqrt(fan in) (equalised learning rate)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.scale = 1 / math.sqrt(c_in * kernel**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class ScaledLinear(nn.Module):
    """Linear layer with equalised learning rate; ``act`` adds the scaled leaky ReLU."""

    def __init__(self, c_in: int, c_out: int, act: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.scale, self.act = 1 / math.sqrt(c_in), act

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.scale, self.bias)
        return F.leaky_relu(x, 0.2) * ACT_GAIN if self.act else x


class BiasAct(nn.Module):
    """Bias per channel, leaky ReLU of slope 0.2, gain sqrt(2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + rearrange(self.bias, 'c -> c 1 1'), 0.2) * ACT_GAIN


class Blur(nn.Module):
    """Smooth with a separable kernel, normalised here, after zero padding; ``stride`` 2 keeps every second value."""

    def __init__(self, taps: Sequence[float], pad: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        k = torch.tensor(taps, dtype=torch.float32)
        kernel = torch.outer(k, k) / k.sum() ** 2
        self.register_buffer('kernel', kernel.flip(0, 1), persistent=False)
        self.pad, self.stride = (*pad, *pad), stride

    def forward(self, x: Tensor) -> Tensor:
        kernel = repeat(self.kernel.to(x), 'h w -> c 1 h w', c=x.shape[1])
        return F.conv2d(F.pad(x, self.pad), kernel, stride=self.stride, groups=x.shape[1])


class Halving(nn.Module):
    """Residual block that halves the size: two 3x3 convolutions beside a 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int, taps: Sequence[float]) -> None:
        super().__init__()
        spare = len(taps) - 2
        wide = (spare + 3) // 2, (spare + 2) // 2  # a 3x3 convolution without padding follows
        thin = (spare + 1) // 2, spare // 2
        self.conv1 = nn.Sequential(ScaledConv(c_in, c_in, 3, padding=1), BiasAct(c_in))
        self.conv2 = nn.Sequential(Blur(taps, wide), ScaledConv(c_in, c_out, 3, stride=2), BiasAct(c_out))
        # Here the halving sits in the blur: a 1x1 convolution gives the same values on the positions that are kept.
        self.skip = nn.Sequential(Blur(taps, thin, stride=2), ScaledConv(c_in, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / ACT_GAIN


@register_arch
class StyleGAN2DiscriminatorClean(nn.Module):
    """StyleGAN2 discriminator that loads BasicSR's ``StyleGAN2Discriminator`` state dict unchanged.

    Args:
        out_size (int): image size H = W, a power of two from 8 to 1024.
        channel_multiplier (int): widens the resolutions from 64 on. Default: 2.
        resample_kernel (Sequence[float]): 1-D kernel of the smoothing before the size is halved. Default: (1, 3, 3, 1).
        stddev_group (int): images of a group, whose variation the last layers see; the batch must be smaller than
            this or divisible by it. Default: 4.
        narrow (float): factor on all channels. Default: 1.
    """

    def __init__(
        self,
        out_size: int,
        channel_multiplier: int = 2,
        resample_kernel: Sequence[float] = (1, 3, 3, 1),
        stddev_group: int = 4,
        narrow: float = 1,
    ) -> None:
        super().__init__()
        if out_size not in {2**i for i in range(3, 11)}:
            raise RefStarError(
                f'StyleGAN2DiscriminatorClean: out_size is {out_size}; it must be a power of two from 8 to 1024'
            )

        def channels(size: int) -> int:
            return int((512 if size <= 32 else 16384 // size * channel_multiplier) * narrow)

        self.out_size, self.stddev_group = out_size, stddev_group
        width = channels(out_size)
        body = [nn.Sequential(ScaledConv(3, width, 1), BiasAct(width))]
        size = out_size
        while size > 4:
            size //= 2
            body.append(Halving(width, channels(size), resample_kernel))
            width = channels(size)
        self.conv_body = nn.Sequential(*body)
        self.final_conv = nn.Sequential(ScaledConv(width + 1, width, 3, padding=1), BiasAct(width))
        self.final_linear = nn.Sequential(ScaledLinear(width * 16, width, act=True), ScaledLinear(width, 1, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """Score images (b, 3, H, W), RGB in [-1, 1]: logits (b, 1); high ones look real."""
        if x.shape[-2:] != (self.out_size, self.out_size):
            raise RefStarError(
                f'discriminator for {self.out_size} px got images of {x.shape[-1]}x{x.shape[-2]}; set out_size'
            )
        x = self.conv_body(x)
        x = self.final_conv(torch.cat([x, self.variation(x)], 1))
        return self.final_linear(rearrange(x, 'b c h w -> b (c h w)'))

    def variation(self, x: Tensor) -> Tensor:
        """Average the standard deviation over the images of a group: (b, c, h, w) -> one channel (b, 1, h, w)."""
        b, _, h, w = x.shape
        group = min(b, self.stddev_group)
        if b % group:
            raise RefStarError(f'batch of {b} images is not divisible by stddev_group {group}; change one of the two')
        std = (rearrange(x, '(g m) c h w -> g m c h w', g=group).var(0, unbiased=False) + 1e-8).sqrt()
        return repeat(std.mean((1, 2, 3)), 'm -> (g m) 1 h w', g=group, h=h, w=w)
