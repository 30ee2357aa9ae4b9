"""Chance in a training sample comes from the sample's place in the training, from nothing else.

BasicSR's loader processes draw from random states of their own, which nobody can put back after a kill, and which begin
anew in every epoch. Here every sample is drawn by a seed made of `manual_seed`, the epoch and the sample's position in
it. So a sample is the same with any number of loader processes, on any rank, and in a resumed run.
"""

import random
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class Draw(int):
    """An index of the data set that carries the seed of its sample: what the sampler yields."""

    seed: list[int]

    @classmethod
    def at(cls, index: int, *place: int) -> 'Draw':
        """The sample `index` at a place of the training, e.g. (manual_seed, epoch, position)."""
        draw = cls(index)
        draw.seed = [int(word) for word in np.random.SeedSequence(place).generate_state(4)]
        return draw


class SeededDataset(Dataset):
    """A data set whose samples draw from Python, numpy and torch by their own seed, and leave these as they were."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, Draw):
            return self.dataset[index]
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        try:
            random.seed(index.seed[0])
            np.random.seed(index.seed[1])
            torch.default_generator.manual_seed(index.seed[2] << 32 | index.seed[3])
            return self.dataset[int(index)]
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])


def leave_signals_to_the_trainer(worker_id: int) -> None:
    """Ctrl-C and Slurm reach loader processes too; the trainer still needs their samples, and ends them itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def seeded(build_dataloader: Callable[..., DataLoader], accumulate: int) -> Callable[..., DataLoader]:
    """BasicSR's function of that name for a training: seeded samples, batches for `accumulate` steps at a time.

    Args:
        build_dataloader: BasicSR's.
        accumulate: option of that name.
    """

    @wraps(build_dataloader)
    def build(dataset: Dataset, dataset_opt: dict, *args: Any, **kwargs: Any) -> DataLoader:
        if dataset_opt['phase'] != 'train':
            return build_dataloader(dataset, dataset_opt, *args, **kwargs)
        batch = dataset_opt['batch_size_per_gpu'] * accumulate
        large = {'pin_memory': torch.cuda.is_available(), **dataset_opt, 'batch_size_per_gpu': batch}
        loader = build_dataloader(SeededDataset(dataset), large, *args, **kwargs)
        loader.worker_init_fn = leave_signals_to_the_trainer
        loader.generator = torch.Generator()  # otherwise a loader draws from the training's random state
        return loader

    return build
