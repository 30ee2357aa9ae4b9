"""The background enlarged by Real-ESRGAN."""

import numpy as np
import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from helpers.restoring import picture

from refstar import RefStarError
from refstar.restore.photo import RealESRGAN


def test_tiles_have_no_seams(tmp_path):
    torch.manual_seed(0)
    nets = {
        'x2': (RRDBNet(3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4), 2),
        'x4': (SRVGGNetCompact(3, 3, 8, 2, 4), 4),
    }
    photo = picture(0, 50, 71)
    for name, (net, scale) in nets.items():
        torch.save({'params_ema': net.state_dict()}, tmp_path / f'{name}.pth')
        tiled, whole = (RealESRGAN(str(tmp_path / f'{name}.pth'), tile=tile) for tile in (32, 0))
        assert whole.scale == scale and tiled(photo, scale).shape == (50 * scale, 71 * scale, 3)
        assert np.abs(tiled(photo, scale).astype(int) - whole(photo, scale)).max() <= 1
        assert whole(photo, 1.5).shape == (75, 106, 3)
    whole.max_pixels = 200 * 284  # of x4, and whatever factor is asked for
    assert whole(photo, 1).shape == photo.shape
    whole.max_pixels -= 1
    with pytest.raises(RefStarError, match=r'enlarged 4 times by its network: 284x200 is too large \(limit: 56799'):
        whole(photo, 1)
    torch.save({'params': torch.nn.Linear(2, 2).state_dict()}, tmp_path / 'other.pth')
    with pytest.raises(RefStarError, match='is no Real-ESRGAN'):
        RealESRGAN(str(tmp_path / 'other.pth'))
