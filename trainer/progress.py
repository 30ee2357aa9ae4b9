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
        self.images = opt['datasets']['train']['batch_size_per_gpu'] * processes
        self.on_gpu, self.line_iter, self.line_time = opt['num_gpu'] > 0, start_iter, time.perf_counter()
        self.waited = self.paused = 0.0  # seconds since the last line

    @contextmanager
    def counts(self, name: str) -> Iterator[None]:
        """While open, time counts as `waited` for samples, or `paused` for a validation or a checkpoint."""
        start = time.perf_counter()
        yield
        setattr(self, name, getattr(self, name) + time.perf_counter() - start)

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
        epoch, current_iter, lrs, pace, data = (
            values.pop(key) for key in ('epoch', 'iter', 'lrs', 'time', 'data_time')
        )
        done = current_iter - self.start_iter
        mean = (time.time() - self.start_time) / done if done > 0 else pace
        left = timedelta(seconds=int(mean * max(self.max_iters - current_iter, 0)))
        rates = ''.join(f'{lr:.3e},' for lr in lrs)
        message = f'[{self.exp_name[:5]}..][epoch:{epoch:3d}, iter:{current_iter:8,d}, lr:({rates})] '
        message += f'[eta: {left}, time (data): {pace:.3f} ({data:.3f})] '
        values |= self.speed(current_iter)
        self.logger.info(message + ''.join(f'{name}: {value:.4e} ' for name, value in values.items()))
        if self.tb_logger is not None:
            for name, value in values.items():
                self.tb_logger.add_scalar(f'losses/{name}' if name.startswith('l_') else name, value, current_iter)

    def speed(self, current_iter: int) -> dict[str, float]:
        """Returns what is added to the line, and begins to count anew."""
        now = time.perf_counter()
        seconds = max(now - self.line_time - self.paused, 1e-9)
        images = self.images * (current_iter - self.line_iter)
        found = {'images_per_s': images / seconds, 'data_wait': self.waited / seconds}
        self.line_iter, self.line_time, self.waited, self.paused = current_iter, now, 0.0, 0.0
        return found | ({'gpu_gib': torch.cuda.max_memory_allocated() / 2**30} if self.on_gpu else {})
