"""Validation and tests: a seed for every photo, the first process alone, and a trial before a run.

Randomness (the noise in GFPGAN's decoder, a degradation) comes from a seed per photo, so that figures do not depend on
what the training has drawn before.
"""

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger, set_random_seed
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.registry import METRIC_REGISTRY
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, IterableDataset

from refstar.utils.errors import RefStarError

PATIENCE = timedelta(days=1)  # for the validation of the first process

_groups: dict[Any, Any] = {}


def cpu_group() -> Any:
    """Returns a group of all processes on gloo: no process waits for its GPU. All must first call it at one place."""
    default = distributed.group.WORLD
    if default not in _groups:
        _groups.clear()
        _groups[default] = distributed.new_group(backend='gloo', timeout=PATIENCE)
    return _groups[default]


class SeededPhotos(DataLoader):
    """A loader of single photos that sets every random state by the photo's own seed before it hands it out."""

    def __init__(self, loader: DataLoader, seed: int) -> None:
        super().__init__(loader.dataset, collate_fn=loader.collate_fn, pin_memory=loader.pin_memory)
        self.seed = seed

    def __iter__(self) -> Iterator[Any]:
        samples = super().__iter__()
        for photo in range(len(self)):
            set_random_seed(int(np.random.SeedSequence([self.seed, photo]).generate_state(1)[0]))
            yield next(samples)


def seeded(loader: DataLoader, seed: int) -> DataLoader:
    """Gives every photo of a validation set its own seed; a loader that BasicSR would not make stays as it is."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    return loader if loader.batch_size != 1 or loader.num_workers else SeededPhotos(loader, seed % 2**32)


def dist_validation(self: BaseModel, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
    """Replaces sr_model.py:158, gfpgan_model.py:466: the first process validates, without DDP, and the others wait.

    DDP would send the buffers of a network to the others in every forward pass.
    """
    group = cpu_group()
    if get_dist_info()[0] == 0:
        with bare_networks(self):
            self.nondist_validation(dataloader, current_iter, tb_logger, save_img)
    distributed.barrier(group=group)


@contextmanager
def bare_networks(model: BaseModel) -> Iterator[None]:
    """While open, networks run without DDP."""
    wrapped = {name: net for name, net in vars(model).items() if isinstance(net, DistributedDataParallel)}
    vars(model).update({name: net.module for name, net in wrapped.items()})
    try:
        yield
    finally:
        vars(model).update(wrapped)


# --------------------------------------------------------------------- before a run
class FirstPhoto(Dataset):
    """The first photo of a data set, with its attributes."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @classmethod
    def of(cls, loader: DataLoader) -> DataLoader:
        """Returns a loader of the first photo alone."""
        return DataLoader(cls(loader.dataset), collate_fn=loader.collate_fn)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


def try_validation(model: BaseModel, loaders: list[DataLoader]) -> None:
    """Validates on the first photo of every set, leaving no trace in model, log or files.

    Raises:
        RefStarError: a metric needs a GT that is not there, or gives no number.
    """
    before, opt, logger = dict(vars(model)), model.opt, get_root_logger()
    logger.disabled = True
    try:
        with TemporaryDirectory() as folder:
            path = {**opt['path'], 'visualization': folder, 'log': folder}
            for loader in loaders:
                if not hasattr(loader.dataset, 'folders'):  # BasicSR tests videos as a whole
                    model.opt = {**opt, 'path': path, 'logger': {}, 'val': {**opt['val'], 'pbar': False}}
                    _try_photo(model, loader)
    finally:
        logger.disabled = False
        vars(model).clear()
        vars(model).update(before)


def _try_photo(model: BaseModel, loader: DataLoader) -> None:
    block, metrics = loader.dataset.opt, model.opt['val'].get('metrics') or {}
    for name, metric in metrics.items():
        compares = 'img2' in inspect.signature(METRIC_REGISTRY.get(metric['type'])).parameters
        if compares and not hasattr(model, 'metric_inputs') and 'gt' not in loader.dataset[0]:
            raise RefStarError(
                f'val:metrics:{name} compares with a GT, but {block["type"]} ({block["name"]}) gives none'
            )
    model.validation(FirstPhoto.of(loader), 0, None, model.opt['val']['save_img'])
    for name, value in getattr(model, 'metric_results', {}).items():
        if math.isnan(value):
            raise RefStarError(
                f'val:metrics:{name} is no number for the first photo of {block["name"]}; is it too small?'
            )
