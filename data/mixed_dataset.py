"""Several datasets as one: each sample comes from one of them, drawn by their shares."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field
from torch.utils.data import Dataset

from refstar.utils.errors import RefStarError
from refstar.utils.option_block import Block, DatasetOptions, Natural

from .photo_dataset import sample_rng


@DATASET_REGISTRY.register()
class MixedDataset(Dataset):
    """Datasets for training, mixed.

    Sample `index` is sample `index` (modulo its length) of one part; which part follows from `seed` and `index`. All
    parts must give the same keys and shapes.

    Raises:
        RefStarError: no part, a share that is no number above 0, or the options of a part are wrong.
    """

    class Options(DatasetOptions):
        """Keys of the dataset."""

        parts: list[Block] = Field(description='the datasets: `type`, its keys, and `share`, its weight (default: 1)')
        shared: Block | None = Field(None, description='keys that every part has unless it says otherwise')
        seed: Natural = Field(0, description='which part a sample comes from follows from this number and the index')

    def __init__(self, opt: Mapping[str, Any]):
        options = self.Options.read(opt, 'dataset')
        self.seed, shares, self.parts = options.seed, [], []
        for i, block in enumerate(options.parts):
            part = {'scale': options.scale, **(options.shared or {}), **block, 'phase': options.phase or 'train'}
            shares.append(part.pop('share', 1))
            if isinstance(shares[-1], bool) or not isinstance(shares[-1], (int, float)) or not shares[-1] > 0:
                raise RefStarError(f'dataset: parts: {i}: share: expected a number above 0, got {shares[-1]!r}')
            if not isinstance(part.get('type'), str) or part['type'] not in DATASET_REGISTRY:
                raise RefStarError(f'dataset: parts: {i}: type: no dataset {part.get("type")!r}')
            self.parts.append(DATASET_REGISTRY.get(part['type'])(part))
        if not self.parts:
            raise RefStarError('dataset: parts: expected at least one dataset')
        self._limits = np.cumsum(shares) / np.sum(shares)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = self.parts[int(np.searchsorted(self._limits, sample_rng(self.seed, index).random(), side='right'))]
        return part[index % len(part)]
