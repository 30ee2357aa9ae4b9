"""*Detail*: similarity of the fine structure that the degradation destroyed.

PSNR depends mostly on colours and large shapes. Detail leaves out all that the degraded photo still shows.
"""

import math

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import from_basicsr, require_same_shape

# A Gaussian of sigma pixels passes exp(-2 (pi sigma f)^2) of the frequency f. A photo that was shrunk `down` times
# keeps nothing above f = 1 / (2 down), its Nyquist limit. With this sigma / down, half of that frequency passes.
SIGMA_PER_DOWN = math.sqrt(2 * math.log(2)) / math.pi  # 0.375: 3 px at 8x
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
FLAT = 1e-4  # standard deviation, in units of the range [-1, 1], below which a region has no detail; 0.01 grey levels


def high_pass(x: Tensor, down: float) -> Tensor:
    """Remove what a photo shrunk ``down`` times still shows: x (b, c, H, W) minus its Gaussian blur.

    The blur has sigma 0.375 * down pixels; at the edges it averages what there is.
    """

    def blur(size: int) -> Tensor:
        i = torch.arange(size, dtype=x.dtype, device=x.device)
        weight = torch.exp(-0.5 * ((i[:, None] - i) / (SIGMA_PER_DOWN * down)) ** 2)
        return weight / weight.sum(1, keepdim=True)

    return x - blur(x.shape[-2]) @ x @ blur(x.shape[-1]).mT


def detail(x: Tensor, y: Tensor, down: float, mask: Tensor | None = None) -> Tensor:
    """Correlate the high-passed luminance of two images inside a region (normalised cross-correlation).

    Luminance, not all channels: it shows moles, freckles, lashes and the structure of an iris. A wrong tint must not
    count as missing detail.

    Args:
        x, y (Tensor): images, shape (b, 3, H, W), RGB in [-1, 1].
        down (float): the strongest down-sampling factor of the degradation, at this image size.
        mask (Tensor | None): region, shape (b, 1, H, W), in [0, 1], a weight for every pixel. None: the whole image.

    Returns:
        Tensor: float64 in [-1, 1], shape (b,). 1: the same detail up to a factor; 0: none, or unrelated detail. Where
        ``y`` has no detail at all: 1 if ``x`` has none either, else 0. An empty region: NaN, nothing was measured.
    """
    luma = torch.tensor(LUMA, dtype=torch.float64, device=x.device)
    x, y = (high_pass(torch.einsum('bchw,c->bhw', v.double(), luma)[:, None], down) for v in (x, y))
    weight = torch.ones_like(x) if mask is None else mask.double()
    weight = weight / weight.sum((1, 2, 3), keepdim=True)  # NaN where the region is empty
    x, y = (v - (weight * v).sum((1, 2, 3), keepdim=True) for v in (x, y))

    def mean(v: Tensor) -> Tensor:
        return (weight * v).sum((1, 2, 3))

    std_x, std_y = mean(x * x).sqrt(), mean(y * y).sqrt()
    flat_x, flat_y = std_x < FLAT, std_y < FLAT
    value = mean(x * y) / (std_x * std_y)
    value = torch.where(flat_x | flat_y, (flat_x & flat_y).double(), value)
    return value.clamp(-1, 1)


@METRIC_REGISTRY.register()
def calculate_detail(
    img: np.ndarray,
    img2: np.ndarray,
    down: float,
    mask: np.ndarray | None = None,
    crop_border: int = 0,
    input_order: str = 'HWC',
    **kwargs,
) -> float:
    """Compute :func:`detail` of two images of BasicSR.

    Args:
        img, img2 (ndarray): output and ground truth, uint8 BGR in [0, 255].
        down (float): the strongest down-sampling factor of the degradation, at this image size: up to 32 at 512 px
            is 8 at 128 px.
        mask (ndarray | None): region, shape (H, W), in [0, 1] or bool, in the images' coordinates (before cropping):
            where the references could help. None: the whole image.
        crop_border (int): pixels to leave out along every edge.
        input_order (str): of the images, 'HWC' or 'CHW'.

    Returns:
        float: in [-1, 1]; NaN for an empty region.

    Raises:
        RefStarError: shapes differ, or ``down`` is not above 1.
    """
    require_same_shape(img, img2)
    if down <= 1:
        raise RefStarError(f'calculate_detail: down is {down}; give the strongest down-sampling factor, above 1')
    x, y = (from_basicsr(v, crop_border, input_order) for v in (img, img2))
    region = None
    if mask is not None:
        h, w = mask.shape
        mask = mask[crop_border : h - crop_border, crop_border : w - crop_border]
        if mask.shape != x.shape[2:]:
            raise RefStarError(f'calculate_detail: mask {mask.shape} and image {tuple(x.shape[2:])} differ in size')
        region = torch.from_numpy(mask.astype(np.float64))[None, None]
    return detail(x, y, down, region).item()


@METRIC_REGISTRY.register()
def calculate_detail_energy(img: np.ndarray, img2: np.ndarray, down: float, crop_border: int = 0, **kwargs) -> float:
    """Compare how much fine structure two images of BasicSR have, wherever it is: 1 is as much as the truth.

    It is the ratio of the standard deviations of the high-passed luminance. The mean of all plausible photos has less
    than 1: what the degradation destroyed averages out.

    Args:
        img, img2 (ndarray): output and ground truth, uint8 (H, W, 3), BGR in [0, 255].
        down (float): as of :func:`calculate_detail`.
        crop_border (int): pixels to leave out along every edge.

    Returns:
        float: from 0; NaN where the truth has no detail.

    Raises:
        RefStarError: shapes differ, or ``down`` is not above 1.
    """
    require_same_shape(img, img2)
    if down <= 1:
        raise RefStarError(f'calculate_detail_energy: down is {down}; give the strongest down-sampling factor, above 1')
    luma = torch.tensor(LUMA, dtype=torch.float64)
    images = (from_basicsr(v, crop_border, 'HWC').double() for v in (img, img2))
    out, truth = (high_pass(torch.einsum('bchw,c->bhw', v, luma)[:, None], down).std().item() for v in images)
    return out / truth if truth > FLAT else math.nan
