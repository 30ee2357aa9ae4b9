"""Enlarge the background of a photo by Real-ESRGAN, in tiles. Its weights are given as a file."""

import re
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from refstar.utils.checkpoint import load_fitting, read_state_dict
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import MAX_PIXELS, refuse_large, to_image, to_tensor

OVERLAP = 16  # pixels around a tile that are computed and discarded: no seams


class RealESRGAN:
    """Enlarge photos.

    Args:
        weights: a released file of Real-ESRGAN (RRDBNet: x2plus, x4plus, anime_6B; SRVGGNetCompact: general, anime).
        device: where it runs.
        tile: side of the tiles in pixels of the photo, to bound the memory; 0: the whole photo at once.
        max_pixels: of a photo as the network enlarges it, before it is resized to the wanted size.

    Raises:
        RefStarError: the file is missing or of another network.
    """

    def __init__(self, weights: str, device: str = 'cpu', tile: int = 400, max_pixels: int = MAX_PIXELS) -> None:
        if tile and tile < 2 * OVERLAP:
            raise RefStarError(f'--tile must be 0 (no tiles) or at least {2 * OVERLAP}, got {tile}')
        state = read_state_dict(weights, 'background upsampler (--bg_weights)')
        net, self.scale = _build(state, weights)
        self.net = load_fitting(net, state, weights).eval().to(device)
        self.device, self.tile, self.max_pixels = device, tile, max_pixels

    def __call__(self, rgb: np.ndarray, factor: float) -> np.ndarray:
        """Enlarge a photo (H, W, 3), uint8, to `factor` times its sides.

        Raises:
            RefStarError: at the network's own factor it has too many pixels, whatever `factor` is.
        """
        height, width = rgb.shape[:2]
        what = f'the background, enlarged {self.scale} times by its network'
        refuse_large(width * self.scale, height * self.scale, self.max_pixels, what)
        tile = self.tile or max(height, width)
        out = np.empty((height * self.scale, width * self.scale, 3), np.uint8)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                self._tile(rgb, out, top, left, tile)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        if size == out.shape[1::-1]:
            return out
        return cv2.resize(out, size, interpolation=cv2.INTER_AREA if factor < self.scale else cv2.INTER_LANCZOS4)

    @torch.inference_mode()
    def _tile(self, rgb: np.ndarray, out: np.ndarray, top: int, left: int, tile: int) -> None:
        bottom, right = min(top + tile, len(rgb)), min(left + tile, rgb.shape[1])
        y, x = max(0, top - OVERLAP), max(0, left - OVERLAP)
        part = rgb[y : bottom + OVERLAP, x : right + OVERLAP]
        odd = [(0, -side % 4) for side in part.shape[:2]]  # the x2 network takes whole blocks of pixels
        tensor = (to_tensor(np.pad(part, [*odd, (0, 0)], mode='edge'))[None].to(self.device) + 1) / 2
        big = to_image(self.net(tensor)[0] * 2 - 1)
        s = self.scale
        window = big[(top - y) * s : (bottom - y) * s, (left - x) * s : (right - x) * s]
        out[top * s : bottom * s, left * s : right * s] = window


def _build(state: dict[str, torch.Tensor], weights: str | Path) -> tuple[nn.Module, int]:
    """Build the network that a state dict belongs to; return it and its factor."""
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
