"""Restorers without references by their released weights: Real-ESRGAN, GFPGAN, RestoreFormer, CodeFormer."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from refstar.utils.archs import build_network
from refstar.utils.checkpoint import load_fitting, read_state_dict
from refstar.utils.errors import RefStarError
from refstar.utils.released_weights import resolve

from .backbones import fixed_arguments
from .layers import from_range, resize, to_range
from .multi_reference import image_of

KNOWN = 'GFPGAN (1.3, 1.4), RestoreFormer, CodeFormer or Real-ESRGAN'
SIDE = 512  # of the faces that the face restorers take
GFPGAN = {
    'type': 'GFPGANv1Clean',
    'out_size': SIDE,
    'num_style_feat': 512,
    'channel_multiplier': 2,
    'fix_decoder': False,
    'num_mlp': 8,
    'input_is_latent': True,
    'different_w': True,
    'narrow': 1,
    'sft_half': True,
}  # the network of the released GFPGANv1.3 and v1.4 weights
# A key of the state dict -> the option block that builds the network.
FACE_RESTORERS = {
    'stylegan_decoder.style_mlp.1.weight': GFPGAN,
    'position_emb': {'type': 'CodeFormer'},
    'quantize.embedding.weight': {'type': 'RestoreFormer'},
}
ARGUMENTS = {'CodeFormer': {'w': 0.5, 'adain': True}}


class BlindRestorer(nn.Module):
    """A released restorer, which the keys of its weights tell.

    Args:
        weights (str | Path): its file, or a name of `refstar weights list`.

    Raises:
        RefStarError: the file is missing, broken or of no known restorer.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        path = resolve(str(weights))
        state = read_state_dict(path, 'another restorer (--base)')
        options = next((block for key, block in FACE_RESTORERS.items() if key in state), None)
        self.arguments, self.value_range, self.lq_size = {}, (-1, 1), SIDE
        if options is None:
            try:
                net, scale = build_realesrgan(state, path)
            except RefStarError as error:
                raise RefStarError(f'{path}: not of {KNOWN}') from error
            self.value_range, self.lq_size = (0, 1), SIDE // scale
        else:
            net = build_network(options)
            self.arguments = fixed_arguments(net) | ARGUMENTS.get(options['type'], {})
        self.net = load_fitting(net, state, path).eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, lq: Tensor) -> Tensor:
        """Restore FFHQ-aligned faces (b, 3, H, W), RGB in [-1, 1]; the same shape and range come back."""
        photo = to_range(resize(lq, (self.lq_size, self.lq_size)), self.value_range)
        out = from_range(image_of(self.net(photo, **self.arguments)), self.value_range)
        return resize(out, lq.shape[-2:]).clamp(-1, 1).type_as(lq)


def build_realesrgan(state: dict[str, Tensor], weights: str | Path) -> tuple[nn.Module, int]:
    """Build the network of Real-ESRGAN that a state dict belongs to; return it and its factor."""
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    def count(pattern: str) -> int:
        return 1 + max((int(m[1]) for key in state if (m := re.match(pattern, key))), default=-1)

    if 'conv_first.weight' in state and 'body.0.rdb1.conv1.weight' in state:
        features, channels = state['conv_first.weight'].shape[:2]
        scale = {3: 4, 12: 2, 48: 1}.get(channels)
        grow, blocks = state['body.0.rdb1.conv1.weight'].shape[0], count(r'body\.(\d+)\.')
        if scale:
            return RRDBNet(3, 3, scale=scale, num_feat=features, num_block=blocks, num_grow_ch=grow), scale
    elif 'body.0.weight' in state and state['body.0.weight'].ndim == 4:
        last = count(r'body\.(\d+)\.weight') - 1
        scale = round((state[f'body.{last}.weight'].shape[0] / 3) ** 0.5)
        features, act = state['body.0.weight'].shape[0], 'prelu' if 'body.1.weight' in state else 'relu'
        return SRVGGNetCompact(3, 3, features, last // 2 - 1, scale, act), scale
    raise RefStarError(f'{weights}: is no Real-ESRGAN (RRDBNet or SRVGGNetCompact)')
