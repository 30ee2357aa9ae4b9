"""The frozen networks that tell people apart, by name: how each is built from its file.

A new one is a row of ``NETWORKS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from refstar.utils.checkpoint import load_fitting, read_state_dict
from refstar.utils.errors import RefStarError
from refstar.utils.onnx_session import open_session

from .mobilefacenet_arch import MobileFaceNet


def _read(path: str | Path, network: str) -> dict[str, Tensor]:
    return read_state_dict(path, f'identity network {network} (key weights)')


def _mobilefacenet(path: str | Path) -> nn.Module:
    return load_fitting(MobileFaceNet(), _read(path, 'mobilefacenet'), path)


def _arcface_resnet18(path: str | Path) -> nn.Module:
    from gfpgan.archs.arcface_arch import ResNetArcFace

    net = ResNetArcFace('IRBlock', [2, 2, 2, 2], use_se=False)
    return load_fitting(net, _read(path, 'arcface_resnet18'), path)


def _irse50(path: str | Path) -> nn.Module:
    from facexlib.recognition.arcface_arch import Backbone

    return load_fitting(Backbone(num_layers=50, drop_ratio=0.6, mode='ir_se'), _read(path, 'irse50'), path)


def _edgeface_xxs(path: str | Path) -> nn.Module:
    """EdgeFace-XXS. Its quantised file keeps linear layers as int8; they become ordinary float layers."""
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
        reason = str(error).splitlines()[0]
        raise RefStarError(f'identity network torchscript (key weights): {path} cannot be read: {reason}') from error


class OnnxNetwork(nn.Module):
    """A network in ONNX's form, run by onnxruntime on the CPU, without gradients.

    Args:
        path (str | Path): the file; one input, and the first output counts.
    """

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
    """How a named network is built from its file and what it is fed.

    Attributes:
        build: path of the weights -> network.
        prepare: name in ``identity_arch.PREPARE``: FFHQ-aligned RGB in [-1, 1], (b, 3, H, H) -> the network's input.
    """

    build: Callable[[str | Path], nn.Module]
    prepare: str


NETWORKS = {
    'mobilefacenet': IdentityNetwork(_mobilefacenet, 'imagenet_112'),
    'edgeface_xxs': IdentityNetwork(_edgeface_xxs, 'arcface_112'),
    'arcface_resnet18': IdentityNetwork(_arcface_resnet18, 'grey_128'),
    'irse50': IdentityNetwork(_irse50, 'arcface_112'),
    'torchscript': IdentityNetwork(_torchscript, 'arcface_112'),
    'onnx': IdentityNetwork(OnnxNetwork, 'arcface_112'),
}
