"""MobileFaceNet, a small face-recognition network (Chen et al. 2018, "MobileFaceNets").

Axis letters: b batch, c channels, h w feature size.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from refstar.utils.archs import register_arch

# (expansion, channels, blocks, stride of the first block)
STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


def conv_bn(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Build a convolution without bias, batch norm and ReLU6."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU6())


class Bottleneck(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise convolution, 1x1 projection."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = c_in * expansion
        narrow = nn.Conv2d(wide, c_out, 1, bias=False)
        self.conv = nn.Sequential(
            conv_bn(c_in, wide), conv_bn(wide, wide, 3, stride, wide), narrow, nn.BatchNorm2d(c_out)
        )
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return x + y if self.residual else y


class SeparableConv(nn.Module):
    """Depthwise 3x3 convolution, then a 1x1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.depthwise(x)))
        return F.relu(self.bn2(self.pointwise(x)))


class GlobalConv(nn.Module):
    """One weight per channel and position, instead of average pooling: the centre of a face counts more."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.depthwise(x))


@register_arch
class MobileFaceNet(nn.Module):
    """MobileFaceNet with 1 M parameters; its state-dict keys are those of foamliu/MobileFaceNet's released file.

    Args:
        dim (int): length of the embedding. Default: 128.
    """

    def __init__(self, dim: int = 128) -> None:
        super().__init__()
        self.conv1, self.dw_conv = conv_bn(3, 64, 3, 2), SeparableConv(64)
        blocks, width = [], 64
        for expansion, channels, count, stride in STAGES:
            for i in range(count):
                blocks.append(Bottleneck(width, channels, stride if i == 0 else 1, expansion))
                width = channels
        self.features = nn.Sequential(*blocks)
        self.conv2, self.gdconv = conv_bn(width, 512), GlobalConv(512, 7)
        self.conv3, self.bn = nn.Conv2d(512, dim, 1), nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed ArcFace crops (b, 3, 112, 112), RGB, ImageNet mean and deviation removed: (b, dim), not normalised."""
        x = self.features(self.dw_conv(self.conv1(x)))
        return rearrange(self.bn(self.conv3(self.gdconv(self.conv2(x)))), 'b c 1 1 -> b c')
