"""Resuming a killed run so that it ends with the weights that the uninterrupted run would have had.

* A `.state` file holds the random states of every process, which BasicSR does not save.
* The sampler of the resumed epoch starts where the killed run stopped.
* A sample is drawn by a seed of its own, made of `manual_seed`, the epoch and its position in it. So it is the same
  with any number of loader processes, on any rank, and in a resumed run.
* Old checkpoints are deleted only once the new one is on disk (`keep_last`).
"""

import atexit
import multiprocessing
import random
import re
import signal
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
from torch.utils.data import Dataset

from refstar.utils.checkpoint import load_file
from refstar.utils.errors import RefStarError

FROZEN_NETWORKS = ('network_vqgan',)  # never saved, so always read from their own files
SAME = (
    'a state is good only for its own run (same name, same option file); to begin with its weights: pretrain_network_g'
)


# --------------------------------------------------------------------- random states
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
    """Returns the random states of all processes by rank; None in all but the first process."""
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
            f'Saved by {len(states)} processes, resumed by {world_size}: random states begin anew, so this run differs '
            'from the uninterrupted one.'
        )


# --------------------------------------------------------------------- samples
class SeededIndex(int):
    """An index of the dataset that carries the seed of its sample: what the sampler yields."""

    seed: list[int]

    @classmethod
    def at(cls, index: int, *place: int) -> 'SeededIndex':
        """Returns the sample `index` at a place of the training, e.g. (manual_seed, epoch, position)."""
        seeded = cls(index)
        seeded.seed = [int(word) for word in np.random.SeedSequence(place).generate_state(4)]
        return seeded


class SeededDataset(Dataset):
    """A dataset whose samples draw from Python, numpy and torch by their own seed, and leave these as they were."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, SeededIndex):
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


def ignore_signals(worker_id: int) -> None:
    """Lets a loader process ignore Ctrl-C and Slurm's signals: the trainer needs its samples, and ends it itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def end_loader_processes() -> None:
    """Ends loader processes that an error left behind: at exit Python would wait for them after a SIGTERM."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would report them as crashed
    for child in multiprocessing.active_children():
        child.kill()


class ResumableSampler(EnlargedSampler):
    """BasicSR's sampler (data_sampler.py:6), without what a resumed run has done, up to the last iteration.

    Args:
        dataset, num_replicas, rank, ratio: BasicSR's.
        batch_size: samples of this process per iteration.
        total_iters: iterations of the whole training.
        start_iter: iteration from which the run is resumed; 0 if it begins.
        seed: of the training.

    Attributes:
        batches (int): iterations per epoch; BasicSR also counts an incomplete last batch, which its loader drops.

    Raises:
        RefStarError: the training set is smaller than one batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        num_replicas: int,
        rank: int,
        ratio: float = 1,
        *,
        batch_size: int,
        total_iters: int,
        start_iter: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, ratio)
        self.batch_size, self.total_iters, self.start_iter, self.seed = (
            batch_size,
            total_iters,
            start_iter,
            seed % 2**32,
        )
        self.batches = self.num_samples // batch_size
        if self.batches == 0:
            raise RefStarError(
                f'datasets:train: {self.num_samples} samples per process are less than a batch of {batch_size}; '
                'lower batch_size_per_gpu or raise dataset_enlarge_ratio'
            )

    def epoch_of(self, current_iter: int) -> int:
        """Returns the epoch that an iteration (from 1) belongs to; 0 for iteration 0."""
        return max(current_iter - 1, 0) // self.batches

    def __iter__(self) -> Iterator[int]:
        before = self.epoch * self.batches
        start = max(self.start_iter - before, 0) * self.batch_size
        stop = min(self.total_iters - before, self.batches) * self.batch_size
        places = range(self.rank, self.total_size, self.num_replicas)  # in the epoch, over all processes
        chosen = list(zip(super().__iter__(), places, strict=True))[start:stop]
        return (SeededIndex.at(index, self.seed, self.epoch, place) for index, place in chosen)


# --------------------------------------------------------------------- training states
def saved_states(opt: dict) -> dict[int, Path]:
    """Returns the training states of a run by iteration."""
    files = Path(opt['path']['training_states']).glob('*.state') if 'training_states' in opt['path'] else ()
    return {int(file.stem): file for file in files if file.stem.isdigit()}


def load_resume_state(opt: dict) -> dict[str, Any] | None:
    """Returns the training state to resume from, or None; sets the networks' paths and the seed accordingly.

    BasicSR's function (basicsr/train.py:58) looks for it in the current folder instead of the root path, and needs
    CUDA to read it.

    Raises:
        RefStarError: the state file is missing, broken, or no training state.
    """
    paths = opt['path']
    if opt['auto_resume']:
        saved = saved_states(opt)
        paths['resume_state'] = str(saved[max(saved)]) if saved else None
    path = paths.get('resume_state')
    if path is None:
        return None
    state = load_file(Path(path).expanduser())
    if not (isinstance(state, dict) and {'epoch', 'iter', 'optimizers', 'schedulers'} <= set(state)):
        raise RefStarError(f'{path} is no training state (a .state file of a BasicSR experiment is expected)')
    ignored = {*(paths.get('ignore_resume_networks') or []), *FROZEN_NETWORKS}
    names = [f'pretrain_{name}' for name in ignored] + [
        f'param_key_{name.removeprefix("network_")}' for name in ignored
    ]
    own = {name: paths[name] for name in names if name in paths}
    paths['ignore_resume_networks'] = sorted(ignored)
    check_resume(opt, state['iter'])
    opt['manual_seed'] = state.get('manual_seed', opt.get('manual_seed'))
    theirs = Path(path).expanduser().resolve().parents[1] / 'models'
    if theirs.is_dir() and theirs != Path(paths['models']).resolve():
        raise RefStarError(
            f'path:resume_state: {path} is of the run {theirs.parent.name}, this is {opt["name"]}; {SAME}'
        )
    for name in set(opt) - ignored:
        file = paths.get(f'pretrain_{name}') if name.startswith('network_') else None
        if file and not Path(file).is_file():
            raise RefStarError(f'path:resume_state: {path} needs {file}, which is not there; {SAME}')
    paths.update(own)  # BasicSR reads every network's key 'params_ema' as 'params' from then on
    if get_dist_info()[0] == 0:
        for name in ('models', 'training_states'):
            for part in Path(paths[name]).glob('.*.part'):  # what the killed run was writing
                part.unlink()
    return state


# --------------------------------------------------------------------- which checkpoints are kept
def prune(opt: dict[str, Any], current_iter: int) -> None:
    """Deletes older checkpoints, by `logger.keep_last`; to be called once the new one is on disk.

    A state is deleted before its networks, so a crash leaves no state that cannot be resumed from.
    """
    count = (opt.get('logger') or {}).get('keep_last')
    states = {number: file for number, file in saved_states(opt).items() if number <= current_iter}
    if not count or len(states) < count:
        return
    first = sorted(states)[-count]
    for number in sorted(states):
        if number < first:
            states[number].unlink()
    for file in sorted(Path(opt['path']['models']).glob('net_*.pth')):
        number = re.search(r'_(\d+)\.pth$', file.name)
        if number and int(number[1]) < first:
            file.unlink()
