"""Identity networks behind one interface: FFHQ-aligned faces in, unit embeddings out, differentiable.

A cosine between two embeddings means something only together with the network's name (`NETWORKS`) and its file: always
report both. Train with one network and report with another, otherwise the score shows the loss.

Axis letters: b batch, c channels, H W image size, d length of an embedding.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from refstar.utils.checkpoint import sha256
from refstar.utils.errors import RefStarError

from .identity_networks import NETWORKS

# Five points (left and right eye, nose, left and right corner of the mouth; x, y) in the crop of 512 pixels that FFHQ
# and facexlib use, and in the crop of 112 pixels that ArcFace and its successors use.
FFHQ_512 = ((192.98138, 239.94708), (318.90277, 240.1936), (256.63416, 314.01935), (201.26117, 371.41043),
            (313.08905, 371.15118))  # fmt: skip
ARCFACE_112 = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


def arcface_crop(x: Tensor) -> Tensor:
    """Cuts ArcFace's crop out of FFHQ-aligned faces: one fixed similarity transform, no detector.

    Args:
        x (Tensor): shape (b, c, H, H).

    Returns:
        Tensor: shape (b, c, 112, 112); area-averaged where the crop shrinks the image (H > 160).
    """
    # As complex numbers a similarity is z -> z / a + t; least squares over the five points, in pixels of the crop.
    image, crop = (np.array(points) @ [1, 1j] for points in (FFHQ_512, ARCFACE_112))
    image = image * (x.shape[-1] / 512)
    centred = image - image.mean()
    a = complex((abs(centred) ** 2).sum() / (centred.conj() * (crop - crop.mean())).sum())
    start = complex(image.mean() - a * crop.mean())
    over = max(1, round(abs(a)))  # samples per output pixel and axis
    pixel = (torch.arange(112 * over, dtype=torch.float64, device=x.device) + 0.5) / over - 0.5
    column, row = pixel[None, :], pixel[:, None]
    z = torch.stack([a.real * column - a.imag * row + start.real, a.imag * column + a.real * row + start.imag], -1)
    grid = ((z + 0.5) * (2 / x.shape[-1]) - 1).to(x.dtype)
    out = F.grid_sample(x, grid.expand(x.shape[0], -1, -1, -1), padding_mode='border', align_corners=False)
    return F.avg_pool2d(out, over) if over > 1 else out


def grey_128(x: Tensor) -> Tensor:
    """GFPGAN's input of its ArcFace: the whole face as luminance at 128x128, (b, 3, H, W) -> (b, 1, 128, 128)."""
    luma = 0.2989 * x[:, 0:1] + 0.5870 * x[:, 1:2] + 0.1140 * x[:, 2:3]
    return F.interpolate(luma, (128, 128), mode='bilinear', align_corners=False)


def imagenet_112(x: Tensor) -> Tensor:
    """ArcFace crop, RGB in [-1, 1] -> ImageNet's mean and deviation removed."""
    return _normalised(arcface_crop(x), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def clip_224(x: Tensor) -> Tensor:
    """The whole face at 224x224 with CLIP's mean and deviation removed: the input of FaRL and its like."""
    x = F.interpolate(x, (224, 224), mode='bilinear', align_corners=False, antialias=True)
    return _normalised(x, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def _normalised(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """[-1, 1] -> [0, 1] less the mean over the deviation of each channel; no table of them goes to the device."""
    return torch.stack([((c + 1) / 2 - m) / s for c, m, s in zip(x.unbind(1), mean, std, strict=True)], 1)


PREPARE = {'arcface_112': arcface_crop, 'imagenet_112': imagenet_112, 'grey_128': grey_128, 'clip_224': clip_224}


@ARCH_REGISTRY.register()
class IdentityEncoder(nn.Module):
    """A frozen face-recognition network with its crop, normalisation and weights.

    It is no part of the networks that use it: its weights come from its own file always, not from their checkpoints.

    Args:
        network (str): 'mobilefacenet' (112 px, 128-d), 'edgeface_xxs' (112 px, 512-d, needs timm), 'arcface_resnet18'
            (GFPGAN's: whole face, grey, 128 px, 512-d), 'irse50' (facexlib's IR-SE50: 112 px, 512-d), or any other
            network by its file: 'torchscript', 'onnx' (needs onnxruntime; no gradients).
        weights (str): path of its file; nothing is downloaded.
        prepare (str | None): what the network is fed, a name in ``PREPARE``. None: what the named network takes, and
            ArcFace's crop of 112 pixels for 'torchscript' and 'onnx'.

    Attributes:
        sha256 (str): of the weights file, hexadecimal.

    Raises:
        RefStarError: unknown network, missing or unreadable file, or the file of another network.
    """

    def __init__(self, network: str, weights: str, prepare: str | None = None) -> None:
        super().__init__()
        if network not in NETWORKS:
            raise RefStarError(f'unknown identity network {network!r}; known are {", ".join(NETWORKS)}')
        prepare = prepare or NETWORKS[network].prepare
        if prepare not in PREPARE:
            raise RefStarError(f'identity network: unknown prepare {prepare!r}; known are {", ".join(PREPARE)}')
        what = f'identity network {network} (key weights)'
        if not weights:
            raise RefStarError(f'{what}: no weights file is configured; give its path (nothing is downloaded)')
        if not Path(weights).is_file():
            raise RefStarError(f'{what}: {weights}: no such file')
        self.network, self.weights, self.prepare = network, weights, PREPARE[prepare]
        self.sha256 = sha256(weights)  # the file may be gone later: network_file.py unpacks it for this moment only
        with torch.random.fork_rng(devices=[]):  # the random initial weights are thrown away
            net = NETWORKS[network].build(weights).eval()
        for p in net.parameters():  # a ScriptModule has no requires_grad_
            p.requires_grad_(False)
        self.__dict__['net'] = net  # not a submodule: no state dict, no optimizer, no EMA, no train()
        get_root_logger().info(f'Identity network {network}: {weights}, sha256 {self.sha256}')

    def _apply(self, fn: Callable, recurse: bool = True) -> 'IdentityEncoder':
        self.net._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor) -> Tensor:
        """Embeds faces; gradients reach the images.

        Args:
            x (Tensor): FFHQ-aligned faces, shape (b, 3, H, H), RGB in [-1, 1].

        Returns:
            Tensor: embeddings of length 1, shape (b, d), or what a network given by its file makes of it.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[-1] != x.shape[-2]:
            raise RefStarError(
                f'identity network: expected square FFHQ-aligned faces (b, 3, H, H), got {tuple(x.shape)}'
            )
        return F.normalize(self.net(self.prepare(x.float())), dim=-1)
