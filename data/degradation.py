"""Synthetic degradation of a face: blur -> down (linear) -> noise -> JPEG -> up (linear).

Every draw comes from the `numpy.random.Generator` handed in, so a sample depends on its seed alone, never on the
number of workers. The published ranges are defined for faces of 512 pixels. For another size, blur sigma, kernel size
and down-sampling factor shrink by `size / 512`, so that the same information about the face remains (at 128 pixels
`ffhq_ref_severe` blurs with sigma 2 to 4 and shrinks 2 to 8 times: 16 to 64 pixels across, as at 512). A factor that
would fall below 1 becomes 1: such a face loses nothing by it. Noise and JPEG act per pixel and stay as they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import cv2
import numpy as np
from scipy.special import ndtri

from refstar.utils.errors import RefStarError, nearest

from .blur import blur_and_resize

Range = tuple[float, float]


@dataclass(frozen=True)
class Degradation:
    """The degradation of one face. Ranges are closed intervals, drawn from uniformly, given at `reference_size`.

    Args:
        blur_sigma: Gaussian blur, standard deviation in pixels.
        downsample_range: how many times smaller the image becomes; below 1 it is enlarged.
        noise_range: standard deviation of Gaussian colour noise, of 255; None for no noise.
        jpeg_range: JPEG quality, 1 to 100; None for no JPEG.
        blur_kernel_size: side of the blur kernel in pixels, odd; a wide Gaussian is cut off by it, as published.
        isotropic_prob: share of round kernels; the others are stretched ellipses at any angle.
        reference_size: image side in pixels for which the ranges are meant.
        size: image side in pixels on which this degradation acts.
    """

    blur_sigma: Range
    downsample_range: Range
    noise_range: Range | None
    jpeg_range: Range | None
    blur_kernel_size: int = 41
    isotropic_prob: float = 0.5
    reference_size: int = 512
    size: int = 512

    @classmethod
    def from_option(cls, opt: str | Mapping, size: int) -> 'Degradation':
        """Builds the degradation from an option value.

        Args:
            opt: the name of a preset, or a mapping of fields, optionally on top of `preset`. A range is `[low, high]`
                or one number.
            size: side of the images in pixels.

        Raises:
            RefStarError: unknown preset or key, or a value that makes no sense.
        """
        opt = {'preset': opt} if isinstance(opt, str) else opt
        if not isinstance(opt, Mapping):
            raise RefStarError(f'degradation: expected a preset name ({", ".join(PRESETS)}) or a mapping, got {opt!r}')
        known = [f.name for f in fields(cls) if f.name != 'size']
        for key in opt:
            if key != 'preset' and key not in known:
                raise RefStarError(f'degradation: unknown key {key!r}{nearest(key, known)}')
        preset = opt.get('preset')
        if preset is not None and preset not in PRESETS:
            raise RefStarError(f'degradation: unknown preset {preset!r}; known: {", ".join(PRESETS)}')
        values = {**PRESETS.get(preset, {}), **{k: v for k, v in opt.items() if k != 'preset'}}
        for key in RANGES:
            if key not in values:
                raise RefStarError(f'degradation: {key} is missing; give it, or a preset ({", ".join(PRESETS)})')
            values[key] = _range(key, values[key])
        result = cls(**values, size=size)
        result._check()
        return result

    def _check(self):
        low_quality, high_quality = self.jpeg_range or (1, 100)
        checks = {
            'blur_sigma': self.blur_sigma[0] >= 0,
            'downsample_range': self.downsample_range[0] > 0,
            'noise_range': self.noise_range is None or self.noise_range[0] >= 0,
            'jpeg_range': low_quality >= 1 and high_quality <= 100,
            'blur_kernel_size': isinstance(self.blur_kernel_size, int) and self.blur_kernel_size % 2 == 1,
            'isotropic_prob': 0 <= self.isotropic_prob <= 1,
            'reference_size': isinstance(self.reference_size, int) and self.reference_size > 0,
            'size': isinstance(self.size, int) and self.size > 0,
        }
        for key, fine in checks.items():
            if not fine:
                raise RefStarError(f'degradation: {key} = {getattr(self, key)!r} is out of range')

    @property
    def scale(self) -> float:
        """Image side over the side for which the ranges are meant."""
        return self.size / self.reference_size

    @property
    def max_factor(self) -> float:
        """Strongest down-sampling factor at this size: the LQ holds nothing above 0.5 / max_factor cycles a pixel."""
        return self._factor(self.downsample_range[1])

    def _factor(self, published: float) -> float:
        return max(min(published, 1.0), published * self.scale)

    def at(self, size: int) -> 'Degradation':
        """The same degradation for images of another size."""
        return replace(self, size=size)

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], field: bool = True) -> 'DegradationDraw':
        """Draws what happens to one image.

        Args:
            rng: source of every draw.
            shape: height and width of the image.
            field: draw the noise itself, which only `DegradationDraw.apply` needs.
        """
        round_kernel = rng.random() < self.isotropic_prob
        sigma_x, sigma_y = rng.uniform(*self.blur_sigma, size=2) * self.scale
        theta = rng.uniform(-math.pi, math.pi)
        if round_kernel:
            sigma_y, theta = sigma_x, 0.0
        full = 2 * round((self.blur_kernel_size * self.scale - 1) / 2) + 1
        # beyond four standard deviations a Gaussian adds less than one 8-bit step
        kernel = min(max(full, 3), 2 * math.ceil(4 * max(sigma_x, sigma_y)) + 1)
        factor = self._factor(rng.uniform(*self.downsample_range))
        height, width = (max(1, int(side // factor)) for side in shape)
        noise, quality, values = 0.0, 0, None
        if self.noise_range is not None:
            noise = rng.uniform(*self.noise_range) / 255
            values = _normal(rng, (height, width, 3)) if field else None
        if self.jpeg_range is not None:
            quality = int(rng.integers(math.ceil(self.jpeg_range[0]), int(self.jpeg_range[1]) + 1))
        return DegradationDraw(sigma_x, sigma_y, theta, kernel, height, width, noise, quality, values)

    def __call__(self, img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Degrades one image: `draw`, then `DegradationDraw.apply`."""
        return self.draw(rng, img.shape[:2]).apply(img)


@dataclass(frozen=True)
class DegradationDraw:
    """What happens to one image.

    Args:
        sigma_x, sigma_y: standard deviations of the blur in pixels; equal for a round one.
        theta: angle of the kernel in radians.
        kernel: side of the kernel in pixels, odd; 1 for no blur.
        height, width: of the shrunken image.
        noise: standard deviation of the noise, of 1.
        quality: of the JPEG; 0 for none.
        field: the noise before scaling, (height, width, 3); None if it is drawn elsewhere.
    """

    sigma_x: float
    sigma_y: float
    theta: float
    kernel: int
    height: int
    width: int
    noise: float
    quality: int
    field: np.ndarray | None = None

    def apply(self, img: np.ndarray) -> np.ndarray:
        """Degrades one image on the CPU.

        Args:
            img: shape (H, W, 3), RGB, float32 in [0, 1].

        Returns:
            The degraded image: same shape and order, uint8, as if read from a file.
        """
        size = (img.shape[1], img.shape[0])
        if self.kernel < 3:
            lq = cv2.resize(img, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        else:
            lq = blur_and_resize(img, self.sigma_x, self.sigma_y, self.theta, self.kernel, self.height, self.width)
        if self.field is not None:
            lq = cv2.scaleAdd(self.field, self.noise, lq)
        lq = jpeg(lq, self.quality) if self.quality else _levels(lq)
        # as float32: OpenCV's linear interpolation of 8-bit images loses 0.1 of a level
        return cv2.convertScaleAbs(cv2.resize(lq.astype(np.float32), size, interpolation=cv2.INTER_LINEAR))


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


def jpeg(img: np.ndarray, quality: int) -> np.ndarray:
    """Writes and reads a JPEG in memory: (H, W, 3), RGB, float32, clipped to [0, 1] -> uint8."""
    bgr = cv2.cvtColor(_levels(img), cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _levels(img: np.ndarray) -> np.ndarray:
    """Float32 of 1 -> uint8, rounded; values outside [0, 1] are clipped."""
    return cv2.convertScaleAbs(cv2.max(img, 0), alpha=255)


@lru_cache(maxsize=1)
def _normal_values() -> np.ndarray:
    """65,536 equally likely values of a standard normal variable, float32."""
    values = ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
    return values / values.std()


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal noise, float32, from a table: in 40 % of the time; nothing beyond 4.2 standard deviations."""
    return np.take(_normal_values(), rng.integers(2**16, size=shape, dtype=np.uint16))


def _range(key: str, value) -> Range | None:
    if value is None and key in ('noise_range', 'jpeg_range'):
        return None
    pair = (value, value) if isinstance(value, (int, float)) else value
    try:
        low, high = (float(v) for v in pair)
    except (TypeError, ValueError):
        raise RefStarError(f'degradation: {key} must be [low, high] or a number, got {value!r}') from None
    if not low <= high:
        raise RefStarError(f'degradation: {key} = {value!r}: the first number must not exceed the second')
    return low, high
