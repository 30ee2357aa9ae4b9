"""Validation and tests by all processes: each takes its share of the photos, the figures are those of the whole set.

BasicSR validates in the first process while the others wait, or run into the timeout of their next message. Here
process r of n takes photos r, r + n, r + 2n ...; means are made of sums and counts. Randomness (the noise in GFPGAN's
decoder, a degradation) comes from a seed per photo, so that figures depend neither on the number of processes nor on
what the training has drawn before.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

KNOWN = ('basicsr', 'gfpgan', 'realesrgan', 'refstar')  # packages whose validations may be given a share

_groups: dict[Any, Any] = {}


def cpu_group() -> Any:
    """Returns a group of all processes on gloo: no process waits for its GPU. All must first call it at one place."""
    default = distributed.group.WORLD
    if default not in _groups:
        _groups.clear()
        _groups[default] = default if distributed.get_backend() == 'gloo' else distributed.new_group(backend='gloo')
    return _groups[default]


def gathered(value: Any) -> list[Any]:
    """Returns the values of all processes by rank, in every process; waits for the slowest."""
    if not distributed.is_initialized():
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value, group=cpu_group())
    return values


class Share(DataLoader):
    """The part of a validation set that one process takes: every n-th photo, one at a time.

    `is_part`: other processes have the rest of `dataset`.
    """

    def __init__(self, loader: DataLoader, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.photos, self.seed, self.is_part = range(rank, len(loader.dataset), world_size), seed, world_size > 1
        super().__init__(
            loader.dataset, sampler=self.photos, collate_fn=loader.collate_fn, pin_memory=loader.pin_memory
        )

    def __iter__(self) -> Iterator[Any]:
        samples = super().__iter__()
        for photo in self.photos:
            set_random_seed(int(np.random.SeedSequence([self.seed, photo]).generate_state(1)[0]))
            yield next(samples)


def seeded(loader: DataLoader, seed: int) -> DataLoader:
    """Gives every photo of a validation set its own seed; a loader that BasicSR would not make stays as it is."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    return loader if loader.batch_size != 1 or loader.num_workers else Share(loader, seed % 2**32)


def in_order(loader: DataLoader, records: list[Any]) -> list[Any]:
    """Returns the records of all processes in the order of the dataset, in every process."""
    if not (isinstance(loader, Share) and loader.is_part):
        return records
    parts = gathered(records)
    return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]


# --------------------------------------------------------------------- in place of methods of BasicSR and GFPGAN
def dist_validation(self: BaseModel, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
    """The original validates in the first process alone, where DDP sends to the others if a network has buffers."""
    with bare_networks(self):
        if isinstance(dataloader, Share) and may_share(type(self)):
            share = Share(dataloader, dataloader.seed, *get_dist_info())
            self.nondist_validation(share, current_iter, tb_logger, save_img)
        elif get_dist_info()[0] == 0:
            self.nondist_validation(dataloader, current_iter, tb_logger, save_img)
    distributed.barrier(group=cpu_group())


def may_share(model_class: type[BaseModel]) -> bool:
    """Returns whether every `nondist_validation` of a class and its bases can be given a part of the photos.

    One of another package may compute figures of its own; if it does not, its class says `shared_validation = True`.
    """
    own = [kind for kind in model_class.__mro__ if 'nondist_validation' in vars(kind)]
    return all(kind.__module__.split('.')[0] in KNOWN or vars(kind).get('shared_validation', False) for kind in own)


@contextmanager
def bare_networks(model: BaseModel) -> Iterator[None]:
    """While open, networks run without DDP, which exchanges buffers in every forward pass."""
    wrapped = {name: net for name, net in vars(model).items() if isinstance(net, DistributedDataParallel)}
    vars(model).update({name: net.module for name, net in wrapped.items()})
    try:
        yield
    finally:
        vars(model).update(wrapped)


def validate_share(
    validate: Callable[..., None], model: BaseModel, loader: Any, current_iter: Any, tb_logger: Any, save_img: bool
) -> None:
    """Runs a `nondist_validation`; a share's means are made over all processes before they are noted and logged."""
    if not (isinstance(loader, Share) and loader.is_part):
        validate(model, loader, current_iter, tb_logger, save_img)
        return
    own, count, dataset = {}, len(loader), loader.dataset.opt['name']
    if count:  # BasicSR divides by the number of photos
        with _figures_wait(model):
            validate(model, loader, current_iter, tb_logger, save_img)
        own = {name: value * count for name, value in getattr(model, 'metric_results', {}).items()}
    parts = gathered((count, own))
    metrics = model.opt['val'].get('metrics')
    if metrics is None:
        return
    total = sum(count for count, _ in parts)
    model.metric_results = {name: sum(own.get(name, 0) for _, own in parts) / total for name in metrics}
    model._initialize_best_metric_results(dataset)
    for name, value in model.metric_results.items():
        model._update_best_metric_result(dataset, name, value, current_iter)
    model._log_validation_metric_values(current_iter, dataset, tb_logger)


@contextmanager
def _figures_wait(model: BaseModel) -> Iterator[None]:
    """While open, the means of a share are neither noted as the best ones nor logged."""
    methods = ('_update_best_metric_result', '_log_validation_metric_values')
    plain = {name: getattr(model, name) for name in methods}
    vars(model).update(dict.fromkeys(methods, lambda *args: None))
    try:
        yield
    finally:
        vars(model).update(plain)


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
