"""The line of a training: losses, remaining time, speed, GPU memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from basicsr.utils import logger
from basicsr.utils.dist_util import master_only


class MessageLogger(logger.MessageLogger):
    """BasicSR's line (basicsr/utils/logger.py:40-124), with the right remaining time: its own counts one iteration
    too few as left and one too many as done. Added behind the losses are:

    * `images_per_s`: samples of all processes since the line before, without validation and checkpoints;
    * `data_wait`: share of that time, in [0, 1], in which the step waited for samples;
    * `gpu_gib`: largest memory of the GPU so far in GiB; on CUDA only.
    """

    def __init__(self, opt: dict[str, Any], start_iter: int = 0) -> None:
        super().__init__({**opt, 'logger': {'use_tb_logger': False, **opt['logger']}}, start_iter)
        processes = opt['world_size'] if opt['dist'] else max(opt['num_gpu'], 1)  # as BasicSR makes its loader
        accumulate = opt['train'].get('accumulate') or 1
        self.images = opt['datasets']['train']['batch_size_per_gpu'] * processes * accumulate
        self.on_gpu, self.line_iter = opt['num_gpu'] > 0, start_iter
        self._begin_interval()

    def _begin_interval(self) -> None:
        self.line_time, self.waited, self.paused = time.perf_counter(), 0.0, 0.0

    @contextmanager
    def waits_for_data(self) -> Iterator[None]:
        """While open, the step waits for samples."""
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    @contextmanager
    def pauses(self) -> Iterator[None]:
        """While open, the training stands still: a validation, a checkpoint."""
        start = time.perf_counter()
        yield
        self.paused += time.perf_counter() - start

    def reset_start_time(self) -> None:
        """Leaves out iteration 1, which is slow; to be called after it."""
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
        seconds, data_seconds = values.pop('time'), values.pop('data_time')
        rates = ''.join(f'{lr:.3e},' for lr in lrs)
        left = timedelta(seconds=int(self.seconds_left(current_iter, seconds)))
        message = f'[{self.exp_name[:5]}..][epoch:{epoch:3d}, iter:{current_iter:8,d}, lr:({rates})] '
        message += f'[eta: {left}, time (data): {seconds:.3f} ({data_seconds:.3f})] '
        values |= self.speed(current_iter)
        self.logger.info(message + ''.join(f'{name}: {value:.4e} ' for name, value in values.items()))
        if self.tb_logger is not None:
            for name, value in values.items():
                self.tb_logger.add_scalar(f'losses/{name}' if name.startswith('l_') else name, value, current_iter)

    def seconds_left(self, current_iter: int, pace: float) -> float:
        """Returns the time to the last iteration at the pace so far; `pace` counts as long as none was measured."""
        done = current_iter - self.start_iter
        if done > 0:
            pace = (time.time() - self.start_time) / done
        return pace * max(self.max_iters - current_iter, 0)

    def speed(self, current_iter: int) -> dict[str, float]:
        """Returns what is added to the line, and begins to count anew."""
        seconds = max(time.perf_counter() - self.line_time - self.paused, 1e-9)
        images = self.images * (current_iter - self.line_iter)
        speed = {'images_per_s': images / seconds, 'data_wait': self.waited / seconds}
        if self.on_gpu:
            speed['gpu_gib'] = torch.cuda.max_memory_allocated() / 2**30
        self.line_iter = current_iter
        self._begin_interval()
        return speed
