"""Which pixels of a restored face came from which reference."""

import colorsys
from typing import Any

import cv2
import numpy as np

from refstar.layers import resize_refs


def shares(aux: dict[str, Any], i: int, strength: float) -> np.ndarray:
    """Share of every reference in every pixel of a restored face.

    Args:
        aux: what :class:`~refstar.RefSTAR` returns beside the photo.
        i: face of the batch.
        strength: that was asked for.

    Returns:
        float32 (n, H, W) in [0, 1]; what is missing to 1 is the backbone's.
    """
    carried = aux['carried'][i : i + 1].float()
    weight = resize_refs(aux['weight'][i : i + 1].float(), carried.shape[-2:])
    return (strength * weight * carried)[0, :, 0].cpu().numpy()


def colours(count: int) -> np.ndarray:
    """A colour for every reference, (n, 3), RGB, uint8."""
    rows = [colorsys.hsv_to_rgb(i / max(count, 1), 0.85, 1.0) for i in range(count)]
    return (np.array(rows).reshape(count, 3) * 255).astype(np.uint8)


def attribution_map(image: np.ndarray, attribution: np.ndarray) -> np.ndarray:
    """A picture of the shares: the restored face in grey, tinted by each reference's colour.

    Args:
        image: restored face, uint8 (S, S, 3), RGB.
        attribution: of :func:`shares`.
    """
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    tint = np.einsum('nhw,nc->hwc', attribution, colours(len(attribution)).astype(np.float32))
    total = attribution.sum(0)[..., None]
    return np.rint(grey * (1 - 0.6 * total) + 0.6 * tint).clip(0, 255).astype(np.uint8)


def overlay(crop: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A reference with its selection drawn over it in green; uint8 (S, S, 3) and float32 (S, S)."""
    green = np.array([0, 200, 80], np.float32)
    weight = 0.5 * mask[..., None]
    return np.rint(crop * (1 - weight) + green * weight).clip(0, 255).astype(np.uint8)
