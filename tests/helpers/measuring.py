"""Photos and helpers of the tests that compare figures with independent implementations."""

import cv2
import numpy as np
import torch

from refstar.evaluation.measures import MeasureSettings, Truth, build_measures

CLOSE = {'rel': 0, 'abs': 1e-4}


def photo(seed: int, size: int = 64) -> np.ndarray:
    """Smooth colours and fine noise, uint8 (size, size, 3) BGR."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(0, 255, (5, 5, 3)), (size, size), interpolation=cv2.INTER_CUBIC)
    return (smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8)


def rgb(img: np.ndarray) -> torch.Tensor:
    """(1, 3, H, W) in [-1, 1], written apart from the project's own."""
    return torch.tensor(cv2.cvtColor(img, cv2.COLOR_BGR2RGB).transpose(2, 0, 1)[None] / 127.5 - 1, dtype=torch.float32)


def scored(settings: MeasureSettings, truth: Truth, img: np.ndarray) -> dict:
    values = {}
    for measure in build_measures(settings, truth.gt is not None)[0]:
        values |= measure.against(truth)(img)
    return values
