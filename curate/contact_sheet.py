"""A contact sheet of a collection: photo, reference, and the reference with what is not selected dimmed."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from refstar.data.images import ImageStore

ACROSS, GAP, DIMMED = 4, 4, 0.25


def contact_sheet(root: Path, names: Sequence[str], side: int = 76) -> np.ndarray:
    """Draws some triplets of a collection.

    Args:
        root: folder with gt/, ref/, mask/.
        names: ids.
        side: of a picture, in pixels.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    store = ImageStore(side, resize=True)
    cells = []
    for name in names:
        gt, ref = (store.read(root / part / f'{name}.png') for part in ('gt', 'ref'))
        mask = store.read_mask(root / 'mask' / f'{name}.png')
        shown = np.rint(ref * np.where(mask > 0, 1.0, DIMMED)[..., None]).astype(np.uint8)
        cells.append(np.pad(np.hstack([gt, ref, shown]), ((0, GAP), (0, GAP), (0, 0)), constant_values=255))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % ACROSS)
    rows = [np.hstack(cells[i : i + ACROSS]) for i in range(0, len(cells), ACROSS)]
    return cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
