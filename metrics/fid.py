"""Fréchet distance between two sets of photos (FID), by torch-fidelity; the feature network is given by its file.

FID has no value per photo, so there is no interval beside it; below some thousand photos it is mostly bias. Figures of
other programs (pyiqa, clean-fid, torchmetrics with other features) are other numbers.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refstar.utils.checkpoint import read_state_dict, sha256
from refstar.utils.errors import RefStarError


class FeatureNetwork:
    """Extract features of photos by a network in a file.

    It is torch-fidelity's InceptionV3 (`weights-inception-2015-12-05-6726825d.pth`, 2048 features) or TorchScript.
    A TorchScript network takes uint8 RGB (1, 3, H, W) and gives features (1, d); where its `forward` has an argument
    `return_features` (StyleGAN's Inception), it is set.

    Raises:
        RefStarError: torch-fidelity is not installed, or the file is missing or of another network.
    """

    def __init__(self, weights: str, device: str = 'cpu') -> None:
        try:
            import torch_fidelity
        except ImportError as error:
            raise RefStarError("FID needs torch-fidelity: pip install 'refstar[evaluate]'") from error
        if not Path(weights).is_file():
            raise RefStarError(f'FID: {weights}: no such file')
        self.weights, self.device, self.options = weights, device, {}
        self.version = torch_fidelity.__version__
        try:
            self.net = torch.jit.load(weights, map_location=device).eval()
            self.name = 'TorchScript'
            if 'return_features' in [a.name for a in self.net.forward.schema.arguments]:
                self.options['return_features'] = True
        except RuntimeError:  # no TorchScript
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

            read_state_dict(weights, 'FID')  # refuses a file that would run code before torch-fidelity reads it
            try:
                net = FeatureExtractorInceptionV3('inception', ['2048'], feature_extractor_weights_path=weights)
            except RuntimeError as error:
                reason = ' '.join(str(error).split())[:200]
                raise RefStarError(f"FID: {weights} is no file of torch-fidelity's InceptionV3: {reason}") from None
            self.net, self.name = net.to(device), "torch-fidelity's InceptionV3, 2048 features"

    @torch.no_grad()
    def __call__(self, img: np.ndarray) -> Tensor:
        """Extract the features of uint8 (H, W, 3) BGR: (d,) float64."""
        x = torch.from_numpy(img[..., ::-1].transpose(2, 0, 1).copy())[None].to(self.device)
        out = self.net(x, **self.options)
        out = out[0] if isinstance(out, tuple) else out
        return out.flatten().cpu().double()

    def about(self) -> dict[str, str]:
        """Return what has to be reported beside the figure."""
        return {
            'program': f'torch-fidelity {self.version}',
            'network': self.name,
            'weights': self.weights,
            'sha256': sha256(self.weights),
        }


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Compute the distance between Gaussians fitted to features (n, d) and (m, d).

    Raises:
        RefStarError: fewer than two photos on a side.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    if min(len(a), len(b)) < 2:
        raise RefStarError(f'FID needs two photos on each side at least, got {len(a)} and {len(b)}')
    return fid_statistics_to_metric(*map(fid_features_to_statistics, (a, b)), verbose=False)[KEY_METRIC_FID]
