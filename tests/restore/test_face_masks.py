"""Regions of a face."""

import numpy as np

from refstar.restore.face_masks import REGIONS, allowed_area


def test_regions_lie_where_the_face_has_them():
    for size in (32, 128, 512):
        every = {name: allowed_area([name], [], None, size) for name in REGIONS}
        assert all(0 < part.max() <= 1 and part.min() == 0 for part in every.values())
        assert (allowed_area(['face'], ['mouth'], None, size) * every['mouth']).max() == 0
        left, right = every['eyes'][:, : size // 2], every['eyes'][:, size // 2 :]
        assert left.sum() > 0 and right.sum() > 0
        rows = {name: (part.sum(1) @ np.arange(size)) / part.sum() for name, part in every.items()}
        assert rows['brows'] < rows['eyes'] < rows['nose'] < rows['mouth']
