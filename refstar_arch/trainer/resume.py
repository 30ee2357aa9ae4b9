"""Resuming a killed BasicSR run so that it ends with the weights that the uninterrupted run would have had.

BasicSR saves neither the random states nor the position within the epoch, looks for the states in the current folder
rather than under the root path, and needs CUDA to read them. Here a `.state` file also holds the random states, and
the sampler of the resumed epoch starts where the killed run stopped. Exact for one process and for samples that depend
on their index or on the main process' random state; further processes of a distributed run get fresh random states.
"""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.misc import check_resume

from ..checkpoint import load_file
from ..errors import RefStarError

FROZEN_NETWORKS = ('network_vqgan',)  # never saved, so always read from their own files

_resumed: dict[str, Any] = {}  # the training state that this process resumes from: the dict that BasicSR holds too


def random_states() -> dict[str, Any]:
    """Returns the random states of this process in a form that `torch.load(weights_only=True)` reads."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        'python': random.getstate(),
        'numpy': (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Puts back what `random_states` returned."""
    version, internal, gauss = states['python']
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = states['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states['torch'])
    if torch.cuda.is_available() and len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states['cuda'])


class ResumableSampler(EnlargedSampler):
    """BasicSR's sampler, which after `plan` leaves out what a resumed run has done and ends at the last iteration."""

    plan_made = False

    def plan(self, batch_size: int, batches: int, total_iters: int) -> None:
        """Fixes which samples each epoch yields.

        Args:
            batch_size: samples of this process per iteration.
            batches: iterations per epoch.
            total_iters: iterations of the whole training.
        """
        self.batch_size, self.batches, self.total_iters = batch_size, batches, total_iters
        self.start_iter = _resumed.get('iter', 0)
        self.resumed_epoch = max(self.start_iter - 1, 0) // batches
        self.plan_made = True

    def __iter__(self) -> Iterator[int]:
        indices = list(super().__iter__())
        if not self.plan_made:
            return iter(indices)
        before = self.epoch * self.batches
        start = max(self.start_iter - before, 0) * self.batch_size
        stop = min(self.total_iters - before, self.batches) * self.batch_size
        if self.start_iter and self.epoch == self.resumed_epoch:
            self._restore_random_states()
        return iter(indices[start:stop])

    def _restore_random_states(self) -> None:
        """The loader has just been built for the resumed epoch and has drawn its random numbers already."""
        states = _resumed.get('random_states')
        if self.rank == 0 and states is not None:
            set_random_states(states)


def _keys_of(network: str) -> tuple[str, str]:
    return f'pretrain_{network}', f'param_key_{network.removeprefix("network_")}'


def load_resume_state(opt: dict) -> dict[str, Any] | None:
    """Replaces BasicSR's function: finds the states under the root path, reads them on any device.

    Raises:
        RefStarError: the state file is missing, broken, or no training state.
    """
    global _resumed
    _resumed = {}
    path = opt['path'].get('resume_state')
    if opt['auto_resume']:
        folder = Path(opt['path']['training_states'])
        saved = {int(file.stem): file for file in folder.glob('*.state') if file.stem.isdigit()}
        path = saved[max(saved)] if saved else None
        if path is not None:
            opt['path']['resume_state'] = str(path)
    if path is None:
        return None
    state = load_file(path)
    if not (isinstance(state, dict) and {'epoch', 'iter', 'optimizers', 'schedulers'} <= set(state)):
        raise RefStarError(f'{path} is no training state (a .state file of a BasicSR experiment is expected)')
    paths = opt['path']
    ignored = {*(paths.get('ignore_resume_networks') or []), *FROZEN_NETWORKS}
    own = {key: paths[key] for name in ignored for key in _keys_of(name) if key in paths}
    paths['ignore_resume_networks'] = sorted(ignored)
    check_resume(opt, state['iter'])
    paths.update(own)  # BasicSR reads every network's key 'params_ema' as 'params' from then on
    if get_dist_info()[0] == 0:
        for name in ('models', 'training_states'):
            for part in Path(opt['path'][name]).glob('.*.part'):  # what the killed run was writing
                part.unlink()
    _resumed = state
    return state


def plan_epochs(loaders: tuple) -> tuple:
    """Corrects what BasicSR's `create_train_val_dataloader` returns: number of epochs, samples of each epoch.

    BasicSR counts an incomplete last batch as an iteration that its loader then drops, so a run could end early, and
    it starts epochs past the end, which gave the final validation a wrong iteration.

    Raises:
        RefStarError: the training set is smaller than one batch.
    """
    train_loader, sampler, val_loaders, _, total_iters = loaders
    batches = len(train_loader)
    if batches == 0:
        raise RefStarError(
            f'datasets.train: {len(sampler)} samples per process are less than a batch of {train_loader.batch_size}; '
            'lower batch_size_per_gpu or raise dataset_enlarge_ratio'
        )
    sampler.plan(train_loader.batch_size, batches, total_iters)
    if _resumed:
        _resumed['epoch'] = sampler.resumed_epoch
    return train_loader, sampler, val_loaders, math.ceil(total_iters / batches) - 1, total_iters
