"""Resuming a killed BasicSR run so that it ends with the weights that the uninterrupted run would have had.

BasicSR saves neither the random states nor the position within the epoch, looks for the states in the current folder
rather than under the root path, and needs CUDA to read them. Here a `.state` file also holds the random states of every
process, the sampler of the resumed epoch starts where the killed run stopped, and samples draw from seeds of their own
(:mod:`seeding`).
"""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.misc import check_resume
from torch import distributed

from refstar.utils.checkpoint import load_file
from refstar.utils.errors import RefStarError

from .seeding import Draw

FROZEN_NETWORKS = ('network_vqgan',)  # never saved, so always read from their own files

_opt: dict[str, Any] = {}  # options of the training of this process
_resumed: dict[str, Any] = {}  # the training state that it resumes from: the dict that BasicSR holds too
_batches = 0  # iterations per epoch


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


def gather_random_states() -> list[dict[str, Any]] | None:
    """The random states of all processes by rank; None in all but the first process."""
    if not distributed.is_initialized():
        return [random_states()]
    rank, world_size = get_dist_info()
    states = [None] * world_size if rank == 0 else None
    distributed.gather_object(random_states(), states)
    return states


def restore_random_states(state: dict[str, Any]) -> None:
    """Gives this process the random states that it had when the training state was saved."""
    states, (rank, world_size) = state.get('random_states'), get_dist_info()
    states = [states] if isinstance(states, dict) else states or []  # one dict: from before they were kept by rank
    if len(states) == world_size:
        set_random_states(states[rank])
    elif states:
        get_root_logger().warning(
            f'Saved by {len(states)} processes, resumed by {world_size}: random states begin anew, so this run goes '
            'another way than the uninterrupted one.'
        )


class ResumableSampler(EnlargedSampler):
    """BasicSR's sampler, which after `plan` leaves out what a resumed run has done and ends at the last iteration."""

    plan_made = False

    def plan(self, batch_size: int, batches: int, total_iters: int, seed: int = 0) -> None:
        """Fixes which samples each epoch yields, and by which seeds they are drawn.

        Args:
            batch_size: samples of this process per iteration.
            batches: iterations per epoch.
            total_iters: iterations of the whole training.
            seed: of the training.
        """
        self.batch_size, self.batches, self.total_iters = batch_size, batches, total_iters
        self.seed = seed % 2**32
        self.start_iter = start_iter()
        self.resumed_epoch = max(self.start_iter - 1, 0) // batches
        self.plan_made = True

    def __iter__(self) -> Iterator[int]:
        indices = list(super().__iter__())
        if not self.plan_made:
            return iter(indices)
        before = self.epoch * self.batches
        start = max(self.start_iter - before, 0) * self.batch_size
        stop = min(self.total_iters - before, self.batches) * self.batch_size
        places = range(self.rank, self.total_size, self.num_replicas)  # in the epoch, over all processes
        chosen = list(zip(indices, places, strict=True))[start:stop]
        return (Draw.at(index, self.seed, self.epoch, place) for index, place in chosen)


def options() -> dict[str, Any]:
    """Options of the training of this process; empty before they are read."""
    return _opt


def start_iter() -> int:
    """Iteration that this process has resumed from; 0 if it began."""
    return _resumed.get('iter', 0)


def epoch_of(current_iter: int) -> int:
    """Epoch that an iteration belongs to."""
    return max(current_iter - 1, 0) // _batches


def saved_states(opt: dict) -> dict[int, Path]:
    """The training states of a run by iteration."""
    files = Path(opt['path']['training_states']).glob('*.state')
    return {int(file.stem): file for file in files if file.stem.isdigit()}


def _keys_of(network: str) -> tuple[str, str]:
    return f'pretrain_{network}', f'param_key_{network.removeprefix("network_")}'


def load_resume_state(opt: dict) -> dict[str, Any] | None:
    """Replaces BasicSR's function: finds the states under the root path, reads them on any device.

    Raises:
        RefStarError: the state file is missing, broken, or no training state.
    """
    global _opt, _resumed
    _opt, _resumed = opt, {}
    path = opt['path'].get('resume_state')
    if opt['auto_resume']:
        saved = saved_states(opt)
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
    opt['manual_seed'] = state.get('manual_seed', opt.get('manual_seed'))
    paths.update(own)  # BasicSR reads every network's key 'params_ema' as 'params' from then on
    if get_dist_info()[0] == 0:
        for name in ('models', 'training_states'):
            for part in Path(opt['path'][name]).glob('.*.part'):  # what the killed run was writing
                part.unlink()
    _resumed = state
    return state


def plan_epochs(loaders: tuple, seed: int) -> tuple:
    """Corrects what BasicSR's `create_train_val_dataloader` returns: number of epochs, samples of each epoch.

    BasicSR counts an incomplete last batch as an iteration that its loader then drops, so a run could end early, and
    it starts epochs past the end, which gave the final validation a wrong iteration.

    Args:
        loaders: what BasicSR's function returned.
        seed: of the training.

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
    global _batches
    _batches = batches
    sampler.plan(train_loader.batch_size, batches, total_iters, seed)
    if _resumed:
        _resumed['epoch'] = sampler.resumed_epoch
    return train_loader, sampler, val_loaders, math.ceil(total_iters / batches) - 1, total_iters
