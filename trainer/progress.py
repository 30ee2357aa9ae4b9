"""The line of a training: losses, remaining time, speed, GPU memory; and seconds by part of a step."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import Any

import numpy as np
import torch
from basicsr.utils import logger
from basicsr.utils.dist_util import master_only

DATA, ASIDE = 'data', 'validation and checkpoints'


class Clock:
    """Seconds by part; the time of a part within another one counts for the inner one alone.

    Args:
        waits: wait for the GPU at every change, so that its work counts for the part that started it.
    """

    def __init__(self, waits: bool = True) -> None:
        self.seconds: Counter[str] = Counter()
        self._waits = waits and torch.cuda.is_available()
        self._open: list[str] = []
        self._since = 0.0

    def _stop(self) -> None:
        if self._waits:
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """While open, time counts for this part."""
        self._stop()
        self._open.append(name)
        try:
            yield
        finally:
            self._stop()
            self._open.pop()

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Lets every call of an object's method count for a part."""
        plain = getattr(owner, method)

        @wraps(plain)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return plain(*args, **kwargs)

        setattr(owner, method, timed)


class MessageLogger(logger.MessageLogger):
    """BasicSR's line (basicsr/utils/logger.py:40-124), with the right remaining time: its own counts one iteration
    too few as left and one too many as done. Added behind the losses are:

    * `images_per_s`: samples of all processes since the line before, without validation and checkpoints;
    * `data_wait`: share of that time, in [0, 1], in which the step waited for samples;
    * `gpu_gib`: largest memory of the GPU so far in GiB; on CUDA only.

    Args:
        opt: options of the training.
        start_iter: iteration from which the run was resumed; 0 if it begins.
        tb_logger: TensorBoard writer, or None.
        clock: has the seconds of the parts DATA and ASIDE since the line before; a line clears them.
    """

    def __init__(self, opt: dict[str, Any], start_iter: int = 0, tb_logger: Any = None, clock: Clock | None = None):
        super().__init__({**opt, 'logger': {'use_tb_logger': False, **opt['logger']}}, start_iter, tb_logger)
        processes = opt['world_size'] if opt['dist'] else max(opt['num_gpu'], 1)  # as BasicSR makes its loader
        accumulate = opt['train'].get('accumulate') or 1
        self.images = opt['datasets']['train']['batch_size_per_gpu'] * processes * accumulate
        self.on_gpu, self.clock = opt['num_gpu'] > 0, clock or Clock(waits=False)
        self.line_iter, self.line_time = start_iter, time.perf_counter()
        self.clock.seconds.clear()

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
        """Returns the time to the last iteration at the pace so far, validation and checkpoints included.

        Args:
            current_iter: number of the last complete iteration.
            pace: seconds of an iteration, as long as none was measured.
        """
        done = current_iter - self.start_iter
        if done > 0:
            pace = (time.time() - self.start_time) / done
        return pace * max(self.max_iters - current_iter, 0)

    def speed(self, current_iter: int) -> dict[str, float]:
        """Returns what is added to the line, and begins to count anew."""
        now, parts = time.perf_counter(), self.clock.seconds
        seconds = max(now - self.line_time - parts[ASIDE], 1e-9)
        speed = {
            'images_per_s': self.images * (current_iter - self.line_iter) / seconds,
            'data_wait': parts[DATA] / seconds,
        }
        if self.on_gpu:
            speed['gpu_gib'] = torch.cuda.max_memory_allocated() / 2**30
        self.line_iter, self.line_time = current_iter, now
        parts.clear()
        return speed


def draw(tb_logger: Any, tag: str, picture: np.ndarray, current_iter: int) -> None:
    """Writes a picture (uint8 HWC BGR) for TensorBoard."""
    tb_logger.add_image(tag, picture[:, :, ::-1].copy(), current_iter, dataformats='HWC')
