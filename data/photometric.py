"""Another light, another camera: colour, sharpness and noise changes of a photo, and things in front of the face."""

import cv2
import numpy as np

from .geometry import unit_grid


def relight(img: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Change exposure, contrast, warmth, saturation; add light from one side.

    Args:
        img: shape (S, S, 3), RGB, float32 in [0, 1].
        rng: source of every draw.
        strength: 0 leaves the photo as it is; 1 is the difference between two ordinary photos.
    """
    gamma = np.exp(rng.uniform(-0.3, 0.3) * strength)
    contrast = 1 + rng.uniform(-0.2, 0.2) * strength
    gain = np.exp(rng.uniform(-0.18, 0.18) * strength)
    warmth, tint = rng.uniform(-0.1, 0.1, 2) * strength
    saturation = 1 + rng.uniform(-0.3, 0.3) * strength
    slope = rng.normal(0, 0.15, 2).astype(np.float32) * np.float32(strength)

    steps = np.linspace(0, 1, 256, dtype=np.float32)
    curve = ((steps**gamma - 0.5) * contrast + 0.5).astype(np.float32)
    out = cv2.LUT(cv2.convertScaleAbs(img, alpha=255), curve)
    colour = np.array([1 + warmth, 1 + tint / 2, 1 - warmth], np.float32) * np.float32(gain)
    to_grey = np.float32(1 - saturation) * np.array([0.299, 0.587, 0.114], np.float32)
    matrix = (np.eye(3, dtype=np.float32) * np.float32(saturation) + to_grey[None]) * colour[:, None]
    out = cv2.transform(out, matrix)
    x, y = cv2.split(unit_grid(img.shape[0]))
    out *= (1 + slope[0] * x + slope[1] * y)[..., None]
    return np.clip(out, 0, 1, out=out)


def soften(img: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Add mild blur (up to 0.4 % of the side) and noise (up to 5 of 255), as between two cameras."""
    sigma = rng.uniform(0, 0.004) * img.shape[0] * strength
    noise = rng.uniform(0, 5 / 255) * strength
    if sigma > 0.2:
        img = cv2.GaussianBlur(img, (0, 0), sigma)
    out = rng.standard_normal(img.shape, dtype=np.float32)
    out *= np.float32(noise)
    out += img
    return np.clip(out, 0, 1, out=out)


def occlude(img: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Paint a bent, shaded bar or blob over the photo, as a hand or a microphone would lie; return also its mask.

    The mask is (S, S) float32, 1 on the thing.
    """
    size = img.shape[0]
    centre = rng.uniform(-0.6, 0.6, 2).astype(np.float32)
    angle, bend = rng.uniform(0, np.pi), rng.uniform(-0.8, 0.8)
    half_length, half_width = rng.uniform(0.15, 0.7), rng.uniform(0.04, 0.22)
    x, y = (axis - middle for axis, middle in zip(cv2.split(unit_grid(size)), centre, strict=True))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = cos * x + sin * y
    squared = along * along
    across = cos * y - sin * x - np.float32(bend) * squared
    depth = 1 - squared * squared / np.float32(half_length**4) - across * across / np.float32(half_width**2)
    mask = (depth > 0).astype(np.float32)

    grain = cv2.resize(rng.normal(0, 0.08, (size // 4, size // 4)).astype(np.float32), (size, size))
    shade = 0.6 + 0.4 * depth.clip(0, 1) + grain
    colour = rng.uniform(0.05, 0.9) * np.array([1, 1, 1]) + rng.uniform(-0.25, 0.25, 3)
    thing = (shade[..., None] * colour.astype(np.float32)).clip(0, 1)
    edge = cv2.GaussianBlur(mask, (3, 3), 0)[..., None]
    return img + edge * (thing - img), mask
