"""Pictures of results: strips of captioned panels, masks drawn over a reference. All uint8 HWC BGR."""

import cv2
import numpy as np

CAPTION = 18  # height, pixels
MIN_PANEL = 160  # pixels; smaller panels are enlarged by a whole factor


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Tint what a mask (H, W) in [0, 1] selects green and darken the rest of an image (H, W, 3)."""
    mask = mask[..., None].astype(np.float32)
    dark, tint = 0.35 * image, 0.75 * image + 0.25 * np.array([80, 220, 80], np.float32)
    return (dark * (1 - mask) + tint * mask).round().astype(np.uint8)


def strip(panels: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """Put captioned panels of one shape side by side; smaller ones are enlarged to the largest."""
    height = max(image.shape[0] for _, image in panels)
    height *= max(1, -(-MIN_PANEL // height))
    columns = []
    for caption, image in panels:
        scale = height / image.shape[0]
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        bar = np.full((CAPTION, image.shape[1], 3), 255, np.uint8)
        cv2.putText(bar, caption, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
        columns.append(np.vstack([bar, image]))
    return np.hstack(columns)
