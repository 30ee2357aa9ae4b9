"""Validation and tests by all processes: each takes its share of the photos, the figures are those of the whole set.

BasicSR validates in the first process while the others wait, or run into the timeout of their next message. Here photo
i is the business of process i modulo their number, none is there twice, and means are made of sums and counts. Chance
(the noise in GFPGAN's decoder, a degradation) comes from a seed of the photo's own, so that figures depend neither on
the number of processes nor on what the training has drawn before.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
from basicsr.models.base_model import BaseModel
from basicsr.utils import set_random_seed
from basicsr.utils.dist_util import get_dist_info
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, IterableDataset

from .distributed import cpu_group, gathered

KNOWN = ('basicsr', 'gfpgan', 'realesrgan', 'refstar')  # packages whose validations may be given a share


class Share(DataLoader):
    """A validation set as one of several processes sees it: every n-th photo, one at a time.

    Attributes:
        dataset: the whole data set.
        is_part (bool): other processes have the rest.
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
    """A validation set whose photos have seeds of their own; a loader that BasicSR would not make stays as it is."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    return loader if loader.batch_size != 1 or loader.num_workers else Share(loader, seed % 2**32)


def in_order(loader: DataLoader, records: list[Any]) -> list[Any]:
    """What all processes have found, in the order of the data set, in every process.

    Args:
        loader: what this process was given to validate.
        records: one for each of its photos.
    """
    if not (isinstance(loader, Share) and loader.is_part):
        return records
    parts = gathered(records)
    return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]


# --------------------------------------------------------------------- methods of BasicSR's and GFPGAN's models
def take_part(model_class: type[BaseModel]) -> None:
    """Lets a model of BasicSR or GFPGAN, which validates in the first process, validate in all of them."""
    model_class.dist_validation = dist_validation
    model_class.nondist_validation = reduced(model_class.nondist_validation)


def dist_validation(self: BaseModel, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
    """The original validates in the first process alone, where DDP sends to the others if a network has buffers."""
    with bare_networks(self):
        if isinstance(dataloader, Share) and may_share(type(self)):
            share = Share(dataloader, dataloader.seed, *get_dist_info())
            self.nondist_validation(share, current_iter, tb_logger, save_img)
        elif self.opt['rank'] == 0:
            self.nondist_validation(dataloader, current_iter, tb_logger, save_img)
    distributed.barrier(group=cpu_group())


def may_share(model_class: type[BaseModel]) -> bool:
    """Whether every `nondist_validation` of a class and its bases can be given a part of the photos.

    One that somebody else has written may make figures of its own; it says `shared_validation = True` if it does not.
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


def reduced(validate: Callable[..., None]) -> Callable[..., None]:
    """BasicSR's `nondist_validation` for a share: means over all processes before the best are noted and logged."""

    @wraps(validate)
    def nondist_validation(self: BaseModel, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        if not (isinstance(dataloader, Share) and dataloader.is_part):
            validate(self, dataloader, current_iter, tb_logger, save_img)
            return
        own, count, dataset = {}, len(dataloader), dataloader.dataset.opt['name']
        if count:  # BasicSR divides by the number of photos
            with _figures_wait(self):
                validate(self, dataloader, current_iter, tb_logger, save_img)
            own = {name: value * count for name, value in getattr(self, 'metric_results', {}).items()}
        parts = gathered((count, own))
        metrics = self.opt['val'].get('metrics')
        if metrics is None:
            return
        total = sum(count for count, _ in parts)
        self.metric_results = {name: sum(own.get(name, 0) for _, own in parts) / total for name in metrics}
        self._initialize_best_metric_results(dataset)
        for name, value in self.metric_results.items():
            self._update_best_metric_result(dataset, name, value, current_iter)
        self._log_validation_metric_values(current_iter, dataset, tb_logger)

    return nondist_validation


@contextmanager
def _figures_wait(model: BaseModel) -> Iterator[None]:
    """While open, the means of a share are neither taken for the best ones nor logged."""
    methods = ('_update_best_metric_result', '_log_validation_metric_values')
    plain = {name: getattr(model, name) for name in methods}
    vars(model).update(dict.fromkeys(methods, lambda *args: None))
    try:
        yield
    finally:
        vars(model).update(plain)
