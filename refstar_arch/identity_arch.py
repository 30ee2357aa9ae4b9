"""Identity networks behind one interface: FFHQ-aligned faces in, unit embeddings out, differentiable.

A cosine between two embeddings means something only together with the network's name and its file: always report both.
Train with one network and report with another, otherwise the score shows the loss. A new network is a row of
``NETWORKS``.

Axis letters: b batch, c channels, H W image size, d length of an embedding.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refstar.utils.archs import register_arch
from refstar.utils.checkpoint import load_fitting, read_state_dict, sha256, what_instead
from refstar.utils.errors import RefStarError
from refstar.utils.face_points import similarity
from refstar.utils.onnx_session import open_session
from refstar.utils.released_weights import PRETRAINED

from .dlib_face_arch import DlibFaceNet
from .layers import warp
from .mobilefacenet_arch import MobileFaceNet

# Five points (left and right eye, nose, left and right corner of the mouth; x, y) in the crop of 512 pixels that FFHQ
# and facexlib use, and in the crop of 112 pixels that ArcFace and its successors use.
FFHQ_512 = ((192.98138, 239.94708), (318.90277, 240.1936), (256.63416, 314.01935), (201.26117, 371.41043),
            (313.08905, 371.15118))  # fmt: skip
ARCFACE_112 = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


# ----------------------------------------------------------------- inputs
def arcface_crop(x: Tensor) -> Tensor:
    """Cut ArcFace's crop out of FFHQ-aligned faces: one fixed similarity transform, no detector.

    Args:
        x (Tensor): shape (b, c, H, H).

    Returns:
        Tensor: shape (b, c, 112, 112); area-averaged where the crop shrinks the image (H > 160).
    """
    matrix = cv2.invertAffineTransform(similarity(np.array(FFHQ_512) * (x.shape[-1] / 512), np.array(ARCFACE_112)))
    over = max(1, round(float(np.hypot(*matrix[:, 0]))))  # samples per output pixel and axis
    pixel = (torch.arange(112 * over, device=x.device) + 0.5) / over - 0.5  # not float64: Apple GPUs have none
    column, row = pixel[None, :], pixel[:, None]
    source = torch.stack([a * column + b * row + c for a, b, c in matrix.tolist()], -1)
    grid = ((source + 0.5) * (2 / x.shape[-1]) - 1).to(x.dtype)
    out = warp(x, grid.permute(2, 0, 1)[None].expand(x.shape[0], -1, -1, -1))
    return F.avg_pool2d(out, over) if over > 1 else out


def grey_128(x: Tensor) -> Tensor:
    """Prepare GFPGAN's ArcFace input: the whole face as luminance, (b, 3, H, W) -> (b, 1, 128, 128)."""
    luma = 0.2989 * x[:, 0:1] + 0.5870 * x[:, 1:2] + 0.1140 * x[:, 2:3]
    return F.interpolate(luma, (128, 128), mode='bilinear', align_corners=False)


def imagenet_112(x: Tensor) -> Tensor:
    """Take ArcFace's crop, RGB in [-1, 1], with ImageNet's mean and deviation removed."""
    return _normalised(arcface_crop(x), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def clip_224(x: Tensor) -> Tensor:
    """Resize the whole face to 224x224 with CLIP's mean and deviation removed: FaRL's input."""
    x = F.interpolate(x, (224, 224), mode='bilinear', align_corners=False, antialias=True)
    return _normalised(x, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def _normalised(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Map [-1, 1] to [0, 1] and normalise each channel; no table of means is sent to the device."""
    return torch.stack([((c + 1) / 2 - m) / s for c, m, s in zip(x.unbind(1), mean, std, strict=True)], 1)


def dlib_150(x: Tensor) -> Tensor:
    """Cut the square of side .62 around (.5, .59) out of FFHQ-aligned faces: (b, c, H, H) -> (b, c, 150, 150)."""
    side = x.shape[-1]
    left, top, width = round(0.19 * side), round(0.28 * side), round(0.62 * side)
    return F.interpolate(x[..., top : top + width, left : left + width], (150, 150), mode='bilinear', antialias=True)


PREPARE = {
    'dlib_150': dlib_150,
    'arcface_112': arcface_crop,
    'imagenet_112': imagenet_112,
    'grey_128': grey_128,
    'clip_224': clip_224,
}


# ----------------------------------------------------------------- networks by name
def _read(path: str | Path, network: str) -> dict[str, Tensor]:
    return read_state_dict(path, f'identity network {network} (key weights)')


def _mobilefacenet(path: str | Path) -> nn.Module:
    return load_fitting(MobileFaceNet(), _read(path, 'mobilefacenet'), path)


def _dlib(path: str | Path) -> nn.Module:
    return load_fitting(DlibFaceNet(), _read(path, 'dlib'), path)


def _arcface_resnet18(path: str | Path) -> nn.Module:
    from gfpgan.archs.arcface_arch import ResNetArcFace

    net = ResNetArcFace('IRBlock', [2, 2, 2, 2], use_se=False)
    return load_fitting(net, _read(path, 'arcface_resnet18'), path)


def _irse50(path: str | Path) -> nn.Module:
    from facexlib.recognition.arcface_arch import Backbone

    return load_fitting(Backbone(num_layers=50, drop_ratio=0.6, mode='ir_se'), _read(path, 'irse50'), path)


def _edgeface_xxs(path: str | Path) -> nn.Module:
    """Build EdgeFace-XXS. Its quantised file keeps linear layers as int8; they become ordinary float layers."""
    try:
        import timm
    except ImportError as error:
        raise RefStarError('identity network edgeface_xxs needs the package timm: pip install timm') from error
    plain, packed = {}, '._packed_params._packed_params'
    for key, value in _read(path, 'edgeface_xxs').items():
        key = key.removeprefix('model.')
        if key.endswith(packed):
            weight, bias = value
            plain[key.replace(packed, '.weight')] = weight.dequantize()
            if bias is not None:
                plain[key.replace(packed, '.bias')] = bias.detach()
        elif not key.endswith(('.scale', '.zero_point', '._packed_params.dtype')):
            plain[key] = value
    return load_fitting(timm.create_model('edgenext_xx_small', num_classes=512), plain, path)


def _torchscript(path: str | Path) -> nn.Module:
    try:
        return torch.jit.load(str(path), map_location='cpu')
    except Exception as error:
        reason = what_instead(path) or f'cannot be read: {str(error).splitlines()[0]}'
        raise RefStarError(f'identity network torchscript (key weights): {path} {reason}') from error


class OnnxIdentityNetwork(nn.Module):
    """Run an ONNX file by onnxruntime on the CPU, without gradients: one input, and the first output counts."""

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.session = open_session(path, 'identity network onnx (key weights)')

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            raise RefStarError('identity network onnx gives no gradients: use it in a context or a metric, not a loss')
        name = self.session.get_inputs()[0].name
        return torch.from_numpy(self.session.run(None, {name: x.cpu().numpy()})[0]).to(x.device)


@dataclass(frozen=True)
class IdentityNetwork:
    """How a named network is built from its file, and its input.

    Attributes:
        build: path of the weights -> network.
        prepare: name in ``PREPARE``: FFHQ-aligned RGB in [-1, 1], (b, 3, H, H) -> the network's input.
        ships: its file in the package, for those that have one.
    """

    build: Callable[[str | Path], nn.Module]
    prepare: str
    ships: Path | None = None


NETWORKS = {
    'dlib': IdentityNetwork(_dlib, 'dlib_150', PRETRAINED / 'dlib_face.safetensors'),
    'mobilefacenet': IdentityNetwork(_mobilefacenet, 'imagenet_112'),
    'edgeface_xxs': IdentityNetwork(_edgeface_xxs, 'arcface_112'),
    'arcface_resnet18': IdentityNetwork(_arcface_resnet18, 'grey_128'),
    'irse50': IdentityNetwork(_irse50, 'arcface_112'),
    'torchscript': IdentityNetwork(_torchscript, 'arcface_112'),
    'onnx': IdentityNetwork(OnnxIdentityNetwork, 'arcface_112'),
}


@register_arch
class IdentityEncoder(nn.Module):
    """Frozen face-recognition network with its crop, normalisation and weights.

    Its weights always come from its own file, never from checkpoints of the networks that use it.

    Args:
        network (str): 'dlib' (150 px, 128-d; its file ships), 'mobilefacenet' (112 px, 128-d), 'edgeface_xxs' (112 px,
            512-d, needs timm), 'arcface_resnet18' (GFPGAN's: whole face, grey, 128 px, 512-d), 'irse50' (facexlib's
            IR-SE50: 112 px, 512-d), or any other network by its file: 'torchscript', 'onnx' (needs onnxruntime; no
            gradients).
        weights (str | None): path of its file; None: the one that ships. Nothing is downloaded.
        prepare (str | None): the network's input, a name in ``PREPARE``. None: that of the named network, and ArcFace's
            crop of 112 pixels for 'torchscript' and 'onnx'.

    Attributes:
        sha256 (str): of the weights file, hexadecimal.

    Raises:
        RefStarError: unknown network, missing or unreadable file, or the file of another network.
    """

    def __init__(self, network: str, weights: str | None = None, prepare: str | None = None) -> None:
        super().__init__()
        if network not in NETWORKS:
            raise RefStarError(f'unknown identity network {network!r}; known are {", ".join(NETWORKS)}')
        prepare = prepare or NETWORKS[network].prepare
        if prepare not in PREPARE:
            raise RefStarError(f'identity network: unknown prepare {prepare!r}; known are {", ".join(PREPARE)}')
        what = f'identity network {network} (key weights)'
        weights = str(weights or NETWORKS[network].ships or '')
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
        logging.getLogger('basicsr').info(f'Identity network {network}: {weights}, sha256 {self.sha256}')

    def _apply(self, fn: Callable, recurse: bool = True) -> 'IdentityEncoder':
        self.net._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor) -> Tensor:
        """Embed faces; gradients reach the images.

        Args:
            x (Tensor): FFHQ-aligned faces, shape (b, 3, H, H), RGB in [-1, 1].

        Returns:
            Tensor: embeddings of length 1, shape (b, d), or the output of a network given by its file.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[-1] != x.shape[-2]:
            raise RefStarError(
                f'identity network: expected square FFHQ-aligned faces (b, 3, H, H), got {tuple(x.shape)}'
            )
        return F.normalize(self.net(self.prepare(x.float())), dim=-1)
