"""Synthetic degradation of a face: blur -> down (linear) -> noise -> JPEG -> up (linear), to the side of the LQ.

Every draw comes from the `numpy.random.Generator` handed in, so a sample depends on its seed alone. The published
ranges hold for faces of 512 pixels. For another size, blur sigma, kernel size and down-sampling factor shrink by
`size / 512`, so that the same information about the face remains (at 128 pixels `ffhq_ref_severe` blurs with sigma 2
to 4 and shrinks 2 to 8 times: 16 to 64 pixels across, as at 512). A factor that would fall below 1 becomes 1. Noise
and JPEG act per pixel and stay as they are.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
from annotated_types import Predicate
from pydantic import BeforeValidator, Field, PrivateAttr
from scipy.special import ndtri

from refstar.utils.errors import RefStarError
from refstar.utils.option_block import Count, Expected, OptionBlock, Share

from .blur import blur_and_resize

RANGES = ('blur_sigma', 'downsample_range', 'noise_range', 'jpeg_range')

# GFPGAN: options/train_gfpgan_v1.yml of TencentARC/GFPGAN. FFHQ-Ref: ReF-LDM (NeurIPS 2024), test sets and training.
PRESETS = {
    name: dict(zip(RANGES, ranges, strict=True))
    for name, ranges in {
        'gfpgan': ((0.1, 10), (0.8, 8), (0, 20), (60, 100)),
        'codeformer_large': ((1, 15), (4, 30), (0, 20), (30, 80)),  # stage II, and with w = 0 in stage III
        'codeformer_small': ((0.1, 10), (1, 12), (0, 15), (60, 100)),  # stage III
        'ffhq_ref_moderate': ((0, 8), (1, 8), (0, 15), (60, 100)),
        'ffhq_ref_severe': ((8, 16), (8, 32), (0, 20), (30, 100)),
        'ffhq_ref_train': ((0, 16), (1, 32), (0, 20), (30, 100)),
    }.items()
}


def _pair(value: Any) -> Any:
    """Turn `[low, high]`, or one number for both, into a pair; leave anything else to the check of types."""
    if isinstance(value, (int, float)):
        return value, value
    return tuple(value) if isinstance(value, list) else value


def _interval(lowest: float, highest: float, text: str) -> Any:
    """Return the type of a range [low, high] within limits."""
    number, ordered = Annotated[float, Field(ge=lowest, le=highest)], Predicate(lambda pair: pair[0] <= pair[1])
    expected = Expected(f'[low, high] or a number, {text}')
    return Annotated[tuple[number, number], BeforeValidator(_pair), ordered, expected]


class Degradation(OptionBlock):
    """The degradation of one face. Ranges are closed intervals, drawn from uniformly, given at `reference_size`."""

    blur_sigma: _interval(0, 1e4, 'from 0')  # Gaussian blur, standard deviation in pixels
    downsample_range: _interval(1e-4, 1e4, 'above 0')  # how many times smaller the image becomes; below 1: larger
    noise_range: _interval(0, 1e4, 'from 0') | None  # standard deviation of Gaussian colour noise, of 255
    jpeg_range: _interval(1, 100, 'from 1 to 100') | None  # JPEG quality
    blur_kernel_size: Annotated[int, Predicate(lambda side: side % 2 and side > 0), Expected('an odd number')] = 41
    isotropic_prob: Share = 0.5  # of round kernels; others are ellipses at any angle
    reference_size: Count = 512  # image side in pixels for which the ranges are meant
    _size: int = PrivateAttr(512)
    _scale: int = PrivateAttr(1)

    @classmethod
    def from_option(cls, opt: str | Mapping[str, Any], size: int, scale: int = 1) -> 'Degradation':
        """Build the degradation from an option value.

        Args:
            opt: the name of a preset, or a mapping of fields, optionally on top of `preset`.
            size: side of the images in pixels on which it acts.
            scale: how many times smaller the degraded images are.

        Raises:
            RefStarError: unknown preset or key, or a value that makes no sense.
        """
        values = {'preset': opt} if isinstance(opt, str) else opt
        if isinstance(values, Mapping) and 'preset' in values:
            preset = values['preset']
            if preset not in PRESETS:
                raise RefStarError(f'degradation: unknown preset {preset!r}; known: {", ".join(PRESETS)}')
            values = {**PRESETS[preset], **{key: value for key, value in values.items() if key != 'preset'}}
        result = cls.read(values, 'degradation')
        result._size, result._scale = size, scale
        return result

    @property
    def size(self) -> int:
        """Image side in pixels on which it acts."""
        return self._size

    @property
    def max_factor(self) -> float:
        """Strongest down-sampling factor at this size: the LQ holds nothing above 0.5 / max_factor cycles a pixel."""
        return self._factor(self.downsample_range[1])

    def _factor(self, published: float) -> float:
        return max(min(published, 1.0), published * (self._size / self.reference_size))

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> 'DegradationDraw':
        """Draw what happens to one image of a shape (height, width)."""
        scale = self._size / self.reference_size
        round_kernel = rng.random() < self.isotropic_prob
        sigma_x, sigma_y = rng.uniform(*self.blur_sigma, size=2) * scale
        theta = rng.uniform(-math.pi, math.pi)
        if round_kernel:
            sigma_y, theta = sigma_x, 0.0
        full = 2 * round((self.blur_kernel_size * scale - 1) / 2) + 1
        # beyond four standard deviations a Gaussian adds less than one 8-bit step
        kernel = min(max(full, 3), 2 * math.ceil(4 * max(sigma_x, sigma_y)) + 1)
        factor = self._factor(rng.uniform(*self.downsample_range))
        height, width = (max(1, int(side // factor)) for side in shape)
        noise, quality, field = 0.0, 0, None
        if self.noise_range is not None:
            noise = rng.uniform(*self.noise_range) / 255
            field = _normal(rng, (height, width, 3))
        if self.jpeg_range is not None:
            quality = int(rng.integers(math.ceil(self.jpeg_range[0]), int(self.jpeg_range[1]) + 1))
        return DegradationDraw(sigma_x, sigma_y, theta, kernel, height, width, noise, field, quality, self._scale)

    def __call__(self, img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Degrade one image: `draw`, then `DegradationDraw.apply`."""
        return self.draw(rng, img.shape[:2]).apply(img)


class DegradationDraw(NamedTuple):
    """What happens to one image."""

    sigma_x: float  # standard deviations of the blur in pixels; equal for a round one
    sigma_y: float
    theta: float  # angle of the kernel in radians
    kernel: int  # side of the kernel in pixels, odd; 1 for no blur
    height: int  # of the shrunken image
    width: int
    noise: float  # standard deviation of the noise, of 1
    field: np.ndarray | None  # the noise before scaling, (height, width, 3); None for no noise
    quality: int  # of the JPEG; 0 for none
    scale: int = 1  # how many times smaller the result is than the image

    def apply(self, img: np.ndarray) -> np.ndarray:
        """Degrade one image (H, W, 3), RGB, float32 in [0, 1]; return it as uint8, as if read from a file."""
        size = (img.shape[1] // self.scale, img.shape[0] // self.scale)
        if self.kernel < 3:
            lq = cv2.resize(img, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        else:
            lq = blur_and_resize(img, self.sigma_x, self.sigma_y, self.theta, self.kernel, self.height, self.width)
        if self.field is not None:
            lq = cv2.scaleAdd(self.field, self.noise, lq)
        lq = cv2.convertScaleAbs(cv2.max(lq, 0), alpha=255)  # rounded; clipped to [0, 1]
        if self.quality:
            bgr = cv2.cvtColor(lq, cv2.COLOR_RGB2BGR)
            _, code = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            lq = cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        # as float32: OpenCV's linear interpolation of 8-bit images loses 0.1 of a level
        shrinks = self.scale > 1 and size[0] < self.width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.convertScaleAbs(cv2.resize(lq.astype(np.float32), size, interpolation=how))


@lru_cache(maxsize=1)
def _normal_values() -> np.ndarray:
    """Return 65,536 equally likely values of a standard normal variable, float32."""
    values = ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
    return values / values.std()


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw standard noise, float32, from a table: in 40 % of the time, nothing beyond 4.2 standard deviations."""
    return np.take(_normal_values(), rng.integers(2**16, size=shape, dtype=np.uint16))
