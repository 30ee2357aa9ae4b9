"""Training and testing in place of BasicSR's loops (train.py:82, test.py:11), with their calls, folders and log.

Nothing is written, and no older run archived, before the networks, losses and data sets are built, one photo of every
validation set has been tried, and the first step has succeeded. A training also resumes within an epoch, ends in order
after a signal, and stops after too many skipped steps.
"""

import logging
import math
import sys
import time
from datetime import timedelta
from logging.handlers import MemoryHandler
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from basicsr import train as basicsr_train
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher
from basicsr.utils import (
    AvgTimer,
    MessageLogger,
    get_env_info,
    get_root_logger,
    get_time_str,
    make_exp_dirs,
    mkdir_and_rename,
)
from basicsr.utils.options import copy_opt_file, dict2str
from torch.utils.data import DataLoader

from refstar.utils.errors import RefStarError

from . import interruption, resume
from .option_file import parse_options
from .training_step import step_of
from .validation import try_validation


class RunFolder:
    """The folder of a run; what is logged waits until it is made.

    Attributes:
        opt: options as of `parse_options`.
        is_open (bool): whether the folder has been made.
        tb_logger: BasicSR's logger for TensorBoard; None before, and without that option.
    """

    def __init__(self, root_path: str, is_train: bool) -> None:
        self.opt, self.args = parse_options(root_path, is_train)
        self.opt['root_path'], self.is_open, self.tb_logger = root_path, False, None
        torch.backends.cudnn.benchmark = True
        self.logger = get_root_logger()
        self.waiting = MemoryHandler(capacity=2**20, flushLevel=sys.maxsize)
        if self.opt['rank'] == 0:
            self.logger.setLevel(logging.INFO)
            self.logger.addHandler(self.waiting)
        self.logger.info(get_env_info())
        self.logger.info(dict2str(self.opt))

    def open(self, is_new: bool = True) -> None:
        """Makes the folders, archives an older run of that name, and writes the log."""
        opt, self.is_open = self.opt, True
        kind = 'train' if opt['is_train'] else 'test'
        if is_new:
            make_exp_dirs(opt)
        if opt['is_train']:
            wants_tb = opt['logger'].get('use_tb_logger') and 'debug' not in opt['name']
            if is_new and wants_tb and opt['rank'] == 0:
                mkdir_and_rename(str(Path(opt['root_path']) / 'tb_logger' / opt['name']))
            copy_opt_file(self.args.opt, opt['path']['experiments_root'])
            self.tb_logger = basicsr_train.init_tb_loggers(opt)
        if opt['rank'] != 0:
            return
        file = logging.FileHandler(Path(opt['path']['log']) / f'{kind}_{opt["name"]}_{get_time_str()}.log', 'w')
        file.setFormatter(logging.Formatter('%(asctime)s %(levelname)s: %(message)s'))
        self.waiting.setTarget(file)
        self.waiting.close()
        self.logger.removeHandler(self.waiting)
        self.logger.addHandler(file)


def test_loaders(opt: dict[str, Any]) -> list[DataLoader]:
    """Returns the loaders of the validation sets, in the order of the option file; for a test, of all sets by phase."""
    if opt['is_train']:
        blocks, what = [block for block in opt['datasets'].values() if block['phase'] == 'val'], 'val images/folders'
    else:
        blocks, what = [block for _, block in sorted(opt['datasets'].items())], 'test images'
    loaders = []
    for block in blocks:
        dataset = build_dataset(block)
        loaders.append(build_dataloader(dataset, block, opt['num_gpu'], opt['dist'], None, opt['manual_seed']))
        get_root_logger().info(f'Number of {what} in {block["name"]}: {len(dataset)}')
    return loaders


def train_loader(opt: dict[str, Any], start_iter: int = 0) -> DataLoader:
    """Returns the loader of the training set; its sampler is a :class:`~resume.ResumableSampler`."""
    block = opt['datasets']['train']
    dataset = build_dataset(block)
    batch = block['batch_size_per_gpu']
    sampler = resume.ResumableSampler(
        dataset,
        opt['world_size'],
        opt['rank'],
        block.get('dataset_enlarge_ratio', 1),
        batch_size=batch if opt['dist'] else batch * max(opt['num_gpu'], 1),
        total_iters=int(opt['train']['total_iter']),
        start_iter=start_iter,
        seed=opt['manual_seed'],
    )
    block = {'pin_memory': torch.cuda.is_available(), **block}
    loader = build_dataloader(
        resume.SeededDataset(dataset), block, opt['num_gpu'], opt['dist'], sampler, opt['manual_seed']
    )
    loader.worker_init_fn = resume.ignore_signals
    loader.generator = torch.Generator()  # otherwise a loader draws from the training's random state
    return loader


def test_pipeline(root_path: str) -> None:
    """Tests by the option file of the command line.

    Raises:
        RefStarError: wrong input, full disk, out of memory.
    """
    with interruption.ends_in_order() as ending:
        ending.run = run = RunFolder(root_path, is_train=False)
        opt = run.opt
        loaders = test_loaders(opt)
        model = basicsr_train.build_model(opt)
        try_validation(model, loaders)
        run.open()
        for loader in loaders:
            run.logger.info(f'Testing {loader.dataset.opt["name"]}...')
            model.validation(loader, opt['name'], None, opt['val']['save_img'])


def train_pipeline(root_path: str) -> None:
    """Trains by the option file of the command line.

    Raises:
        RefStarError: wrong input, full disk, out of memory, too many skipped steps.
        SystemExit: a signal; code 128 + its number.
    """
    with interruption.ends_in_order() as ending:
        ending.run = run = RunFolder(root_path, is_train=True)
        Training(run, resume.load_resume_state(run.opt)).run_all()
        if run.tb_logger:
            run.tb_logger.close()


class Training:
    """One training."""

    def __init__(self, run: RunFolder, state: dict[str, Any] | None) -> None:
        self.run, self.opt, self.logger, self.is_new = run, run.opt, run.logger, state is None
        opt = run.opt
        self.start_iter = state['iter'] if state else 0
        self.total_iters = int(opt['train']['total_iter'])
        self.loader = train_loader(opt, self.start_iter)
        self.sampler = self.loader.sampler
        self.val_loaders = test_loaders(opt) if opt.get('val') is not None else []
        self.logger.info(
            f'Training statistics:\n\tNumber of train images: {len(self.loader.dataset)}'
            f'\n\tBatch size per gpu: {opt["datasets"]["train"]["batch_size_per_gpu"]}'
            f'\n\tWorld size (gpu number): {opt["world_size"]}'
            f'\n\tRequire iter number per epoch: {self.sampler.batches}'
            f'\n\tTotal epochs: {math.ceil(self.total_iters / self.sampler.batches)}; iters: {self.total_iters}.'
        )
        self.model = basicsr_train.build_model(opt)
        if state:
            self.model.resume_training(state)
            epoch = self.sampler.epoch_of(self.start_iter)
            self.logger.info(f'Resuming training from epoch: {epoch}, iter: {self.start_iter}.')
        try_validation(self.model, self.val_loaders)
        self.messages = MessageLogger({**opt, 'logger': {'use_tb_logger': False, **opt['logger']}}, self.start_iter)
        self.data_timer, self.iter_timer = AvgTimer(), AvgTimer()

    def run_all(self) -> None:
        """Trains to the last iteration, saves, validates."""
        first = self.sampler.epoch_of(self.start_iter)
        self.logger.info(f'Start training from epoch: {first}, iter: {self.start_iter}')
        cuda = self.opt['datasets']['train'].get('prefetch_mode') == 'cuda'
        prefetcher = CUDAPrefetcher(self.loader, self.opt) if cuda else CPUPrefetcher(self.loader)
        start_time, current_iter = time.time(), self.start_iter
        for epoch in range(first, math.ceil(self.total_iters / self.sampler.batches)):
            self.sampler.set_epoch(epoch)
            prefetcher.reset()
            data = prefetcher.next()
            while data is not None:
                self.data_timer.record()
                self.stop_if_asked(current_iter)
                current_iter += 1
                self.iteration(epoch, current_iter, data)
                self.data_timer.start()
                self.iter_timer.start()
                data = prefetcher.next()
        self.open()
        self.logger.info(f'End of training. Time consumed: {timedelta(seconds=int(time.time() - start_time))}')
        self.logger.info('Save the latest model.')
        self.model.save(epoch=-1, current_iter=-1)
        self.validate(current_iter)

    def open(self) -> None:
        """Makes the folder of the run; to be called once the first step has succeeded."""
        if not self.run.is_open:
            self.run.open(self.is_new)
            self.messages.tb_logger = self.run.tb_logger

    def iteration(self, epoch: int, current_iter: int, data: Any) -> None:
        """Runs one step, and what is due after it: the log, a checkpoint, a validation."""
        model, opt = self.model, self.opt
        model.update_learning_rate(current_iter, warmup_iter=opt['train'].get('warmup_iter', -1))
        model.feed_data(data)
        model.optimize_parameters(current_iter)
        self.iter_timer.record()
        self.open()
        if current_iter == 1:
            self.messages.reset_start_time()
        if current_iter % opt['logger']['print_freq'] == 0:
            self.log(epoch, current_iter)
        if current_iter % opt['logger']['save_checkpoint_freq'] == 0:
            self.logger.info('Saving models and training states.')
            model.save(epoch, current_iter)
        if opt.get('val') is not None and current_iter % opt['val']['val_freq'] == 0:
            self.validate(current_iter)

    def log(self, epoch: int, current_iter: int) -> None:
        """Prints the line of an iteration.

        Raises:
            RefStarError: too many steps in a row were skipped; a checkpoint is saved.
        """
        reason = step_of(self.model).log_skipped()
        if reason is not None:
            self.model.save(epoch, current_iter)
            raise RefStarError(
                f'{reason}. The weights from before are saved. Lower the learning rate or the weight of that loss. '
                f'{interruption.how_to_resume(self.run)}'
            )
        times = {'time': self.iter_timer.get_avg_time(), 'data_time': self.data_timer.get_avg_time()}
        rates = self.model.get_current_learning_rate()
        losses = self.model.get_current_log()
        self.messages({'epoch': epoch, 'iter': current_iter, 'lrs': rates, **times, **losses})

    def validate(self, current_iter: int) -> None:
        """Validates on every set."""
        for loader in self.val_loaders:
            self.model.validation(loader, current_iter, self.run.tb_logger, self.opt['val']['save_img'])

    def stop_if_asked(self, done: int) -> None:
        """Between two iterations: saves and ends the process if a signal has arrived.

        Raises:
            SystemExit: code 128 + number of the signal.
        """
        number = interruption.stop_requested()
        if not number:
            return
        if done > self.start_iter:
            self.model.save(self.sampler.epoch_of(done), done)
        if self.opt['rank'] == 0:
            how = interruption.how_to_resume(self.run)
            print(f'Stopped by {Signals(number).name} after iteration {done}. {how}', file=sys.stderr, flush=True)
        raise SystemExit(128 + number)
