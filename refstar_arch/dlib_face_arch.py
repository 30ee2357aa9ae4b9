"""dlib's face-recognition ResNet and the 68 landmarks of face-api.js, in plain torch: two small networks that ship.

Both were trained by others (MIT licence, see `pretrained/LICENSE.face-api.txt`). The layouts are facts of their weight
files: https://github.com/davisking/dlib-models and https://github.com/vladmandic/face-api.

Axis letters: b batch, c channels, h w feature size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refstar.utils.archs import register_arch

MEAN = (122.782, 117.001, 104.298)  # RGB, of 255


def _levels(x: Tensor, divisor: float) -> Tensor:
    """Map RGB in [-1, 1] to levels of 255 less their mean, over a divisor."""
    return torch.stack([((c + 1) * 127.5 - mean) / divisor for c, mean in zip(x.unbind(1), MEAN, strict=True)], 1)


class FoldedConv(nn.Module):
    """Convolution with a scale and a shift per channel (a batch norm that is folded)."""

    def __init__(self, c_in: int, c_out: int, side: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, side, stride, padding=0 if stride > 1 else side // 2)
        self.scale, self.shift = nn.Parameter(torch.ones(c_out)), nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, c_out, h', w')."""
        return self.conv(x) * self.scale[:, None, None] + self.shift[:, None, None]


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; a block that halves the size pads what is too small with zeros."""

    def __init__(self, c_in: int, c_out: int, down: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2, self.down = (
            FoldedConv(c_in, c_out, stride=2 if down else 1),
            FoldedConv(c_out, c_out),
            down,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c_in, h, w) to (b, c_out, h', w')."""
        out = self.conv2(self.conv1(x).relu())
        if self.down:
            x = F.avg_pool2d(x, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, out.shape[1] - x.shape[1]))
            out = F.pad(out, (0, x.shape[3] - out.shape[3], 0, x.shape[2] - out.shape[2]))
        return (out + x).relu()


@register_arch
class DlibFaceNet(nn.Module):
    """dlib's face-recognition ResNet: 29 convolutions, 5.6 M parameters, descriptors of 128 numbers.

    Two photos of one person have a Euclidean distance below about 0.6. The bias of the last layer takes the mean
    descriptor of many people away: distances stay, and cosines are about 0 for two people, 0.85 for one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = FoldedConv(3, 32, 7, 2)
        blocks = [ResidualBlock(32, 32) for _ in range(3)]
        for c_in, c_out, more in ((32, 64, 3), (64, 128, 2), (128, 256, 2)):
            blocks += [ResidualBlock(c_in, c_out, down=True), *(ResidualBlock(c_out, c_out) for _ in range(more))]
        self.blocks = nn.Sequential(*blocks, ResidualBlock(256, 256, down=True))
        self.head = nn.Linear(256, 128)

    def forward(self, x: Tensor) -> Tensor:
        """Describe faces.

        Args:
            x (Tensor): the inner face, shape (b, 3, 150, 150), RGB in [-1, 1].

        Returns:
            Tensor: shape (b, 128), not normalised.
        """
        return self.head(self.blocks(self.begin(x)).mean((2, 3)))

    def begin(self, x: Tensor) -> Tensor:
        """Compute what the blocks see of faces: (b, 3, 150, 150) -> (b, 32, 35, 35)."""
        return F.max_pool2d(self.stem(_levels(x, 256)).relu(), 3, 2)


class DepthwiseConv(nn.Module):
    """Depthwise, then pointwise convolution; with stride 2 the image is padded on the right and below."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(c_in, c_in, 3, stride, padding=0, groups=c_in, bias=False)
        self.pointwise = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c_in, h, w) to (b, c_out, h / stride, w / stride)."""
        return self.pointwise(self.depthwise(F.pad(x, (0, 1, 0, 1) if self.stride == 2 else (1, 1, 1, 1))))


class DenseBlock(nn.Module):
    """Four convolutions; each but the first takes the sum of all before it. Halves the size."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        first = nn.Conv2d(c_in, c_out, 3, 2) if c_in == 3 else DepthwiseConv(c_in, c_out, 2)
        self.convs = nn.ModuleList([first, *(DepthwiseConv(c_out, c_out) for _ in range(3))])
        self.pad = c_in == 3

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c_in, h, w) to (b, c_out, h / 2, w / 2)."""
        total = self.convs[0](F.pad(x, (0, 1, 0, 1)) if self.pad else x).relu()
        for conv in self.convs[1:]:
            total = total + conv(total.relu())
        return total.relu()


@register_arch
class LandmarkNet68(nn.Module):
    """The 68 landmarks of iBUG's scheme: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(a, b) for a, b in ((3, 32), (32, 64), (64, 128), (128, 256))))
        self.head = nn.Linear(256, 136)

    def forward(self, x: Tensor) -> Tensor:
        """Find landmarks.

        Args:
            x (Tensor): the face's square, shape (b, 3, 112, 112), RGB in [-1, 1].

        Returns:
            Tensor: x and y, shape (b, 68, 2), in shares of the square's side.
        """
        x = F.avg_pool2d(self.blocks(_levels(x, 255)), 7, 2)
        return self.head(x.flatten(1)).unflatten(1, (68, 2))
