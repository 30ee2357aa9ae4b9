"""What a training shows while it runs: remaining time, speed, GPU memory; pictures of its batches for TensorBoard."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

import numpy as np
import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import logger
from basicsr.utils.dist_util import master_only

from . import resume
from .step_timer import Clock

DATA, ASIDE = 'data', 'validation and checkpoints'

_clock = Clock(waits=False)  # of the training of this process
_writer: Any = None  # its TensorBoard writer; None: there is none


class MessageLogger(logger.MessageLogger):
    """BasicSR's line, with what its remaining time gets wrong: it counts one iteration too few (so it ends in
    `-1 day, 23:59:59`), and one too many as done. Added behind the losses are:

    * `images_per_s`: samples of all processes, since the line before; time for validation and checkpoints left out;
    * `data_wait`: share of that time, in [0, 1], in which the step waited for samples;
    * `gpu_gib`: largest memory of the GPU so far in GiB; on CUDA only.
    """

    def __init__(self, opt: dict[str, Any], start_iter: int = 1, tb_logger: Any = None) -> None:
        global _writer
        super().__init__({**opt, 'logger': {'use_tb_logger': False, **opt['logger']}}, start_iter, tb_logger)
        _writer = tb_logger
        gpus = opt['world_size'] if opt['dist'] else max(opt['num_gpu'], 1)  # as BasicSR makes its loader
        self.images = opt['datasets']['train']['batch_size_per_gpu'] * gpus * (opt['train'].get('accumulate') or 1)
        self.on_gpu = opt['num_gpu'] > 0
        self.line_iter = start_iter
        self._begin_interval()

    def _begin_interval(self) -> None:
        self.line_time = time.perf_counter()
        _clock.seconds.clear()

    def reset_start_time(self) -> None:
        """Called after iteration 1, which is slow."""
        super().reset_start_time()
        self.start_iter = 1

    @master_only
    def __call__(self, log_vars: dict[str, Any]) -> None:
        """Prints a line, and writes its values for TensorBoard.

        Args:
            log_vars: `epoch`, `iter`, `lrs`, `time` and `data_time` (of an iteration, in seconds), and what to print
                by name.
        """
        values = dict(log_vars)
        epoch, current_iter, lrs = values.pop('epoch'), values.pop('iter'), values.pop('lrs')
        rates = ''.join(f'{lr:.3e},' for lr in lrs)
        message = f'[{self.exp_name[:5]}..][epoch:{epoch:3d}, iter:{current_iter:8,d}, lr:({rates})] '
        if 'time' in values:
            seconds, data_seconds = values.pop('time'), values.pop('data_time')
            left = timedelta(seconds=int(self.seconds_left(current_iter, seconds)))
            message += f'[eta: {left}, time (data): {seconds:.3f} ({data_seconds:.3f})] '
        values |= self.speed(current_iter)
        self.logger.info(message + ''.join(f'{name}: {value:.4e} ' for name, value in values.items()))
        if self.tb_logger is not None:
            for name, value in values.items():
                self.tb_logger.add_scalar(f'losses/{name}' if name.startswith('l_') else name, value, current_iter)

    def seconds_left(self, current_iter: int, pace: float) -> float:
        """Time to the last iteration, at the pace so far, validation and checkpoints included.

        Args:
            current_iter: has just been done.
            pace: seconds of an iteration, for as long as none was measured.
        """
        done = current_iter - self.start_iter
        if done > 0:
            pace = (time.time() - self.start_time) / done
        return pace * max(self.max_iters - current_iter, 0)

    def speed(self, current_iter: int) -> dict[str, float]:
        """What is added to the line."""
        seconds = max(time.perf_counter() - self.line_time - _clock.seconds[ASIDE], 1e-9)
        speed = {
            'images_per_s': self.images * (current_iter - self.line_iter) / seconds,
            'data_wait': _clock.seconds[DATA] / seconds,
        }
        if self.on_gpu:
            speed['gpu_gib'] = torch.cuda.max_memory_allocated() / 2**30
        self.line_iter = current_iter
        self._begin_interval()
        return speed


def timed_prefetcher(kind: Callable[..., Any]) -> Callable[..., Any]:
    """BasicSR's prefetcher, whose time counts as waiting for data."""

    @wraps(kind)
    def build(*args: Any, **kwargs: Any) -> Any:
        prefetcher = kind(*args, **kwargs)
        for method in ('reset', 'next'):
            _clock.watch(prefetcher, method, DATA)
        return prefetcher

    return build


def draw(tb_logger: Any, tag: str, picture: np.ndarray, current_iter: int) -> None:
    """Writes a picture (uint8 HWC BGR) for TensorBoard."""
    tb_logger.add_image(tag, picture[:, :, ::-1].copy(), current_iter, dataformats='HWC')


def watch(model: BaseModel) -> None:
    """Sets the time of a model's validation and checkpoints aside, and lets it draw its batches for TensorBoard.

    A model that can do so has a method `picture() -> uint8 HWC BGR`; it is called every `logger.image_freq` iterations.
    """
    for method in ('validation', 'save'):
        _clock.watch(model, method, ASIDE)
    every, optimize = model.opt.get('logger', {}).get('image_freq'), model.optimize_parameters
    if not every or not hasattr(model, 'picture'):
        return

    @wraps(optimize)
    def optimize_and_draw(current_iter: int) -> None:
        optimize(current_iter)
        if _writer is not None and current_iter % every == 0:
            with _clock.part(ASIDE):
                states = resume.random_states()
                draw(_writer, 'training', model.picture(), current_iter)
                resume.set_random_states(states)

    model.optimize_parameters = optimize_and_draw
