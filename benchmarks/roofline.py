"""What a training step has to compute and to move, counted; what the machine can do at best, measured."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from refstar.trainer.base_model import BaseModel
from refstar.trainer.network_setup import networks


class Stopwatch:
    """Seconds of a call: processor time on the CPU, where other programs lengthen wall time; wall time on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, call: Callable[[], object]) -> float:
        if self.device.type == 'cpu':
            start = time.process_time()
            call()
            return time.process_time() - start
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        call()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - start


class Saved:
    """Counts the bytes that forward passes keep for backward passes, each memory once, parameters left out.

    Attributes:
        total (int): of a whole step.
        peak (int): at one time.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.left_out = {p.untyped_storage().data_ptr() for p in parameters}
        self.holders: Counter[int] = Counter()  # address -> saved tensors that share the memory
        self.now = self.peak = self.total = 0

    def pack(self, x: Tensor) -> 'Holder':
        return Holder(self, x)

    def add(self, storage: torch.UntypedStorage, sign: int) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self.left_out:
            return
        self.holders[address] += sign
        if self.holders[address] == (sign > 0):  # the first one came, or the last one went
            self.now += sign * size
            self.total += size if sign > 0 else 0
            self.peak = max(self.peak, self.now)


class Holder:
    """A tensor that autograd keeps."""

    def __init__(self, saved: Saved, x: Tensor) -> None:
        self.saved, self.x = saved, x
        saved.add(x.untyped_storage(), 1)

    def __del__(self) -> None:
        self.saved.add(self.x.untyped_storage(), -1)


@dataclass
class Work:
    """What a step takes.

    Attributes:
        flops (int): of matrix products and convolutions, forward and backward; a multiply-add counts as two.
        moved (int): least bytes: parameters read in both passes and updated with their moments and mean, what is kept
            for the backward pass written and read.
        held (int): bytes of networks, gradients, moments and EMA.
        kept (int): most bytes at a time that are kept for the backward pass.
    """

    flops: int
    moved: int
    held: int
    kept: int


def size(tensors: Iterable[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


def count(model: BaseModel, step: Callable[[], object]) -> Work:
    """Counts one step; compiled modules run as they are written."""
    nets = networks(model)
    parameters = [p for net in nets.values() for p in net.parameters()]
    saved, counter = Saved(parameters), FlopCounterMode(display=False)
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance('force_eager'))
        stack.enter_context(saved_tensors_hooks(saved.pack, lambda holder: holder.x))
        stack.enter_context(counter)
        step()
    trained = [p for optimizer in model.optimizers for group in optimizer.param_groups for p in group['params']]
    states = [state.values() for optimizer in model.optimizers for state in optimizer.state.values()]
    moments = [x for state in states for x in state if isinstance(x, Tensor)]
    ema = list(nets['g_ema'].parameters()) if 'g_ema' in nets else []
    # Both passes read every weight. The gradient is written once; the optimizer reads it, reads and writes the weight
    # and its moments. The mean reads the weight, and is read and written.
    moved = 2 * (size(parameters) - size(ema)) + 4 * size(trained) + 2 * size(moments) + 3 * size(ema) + 2 * saved.total
    held = size(parameters) + size(trained) + size(moments)
    return Work(counter.get_total_flops(), moved, held, saved.peak)


def best(device: torch.device, dtype: torch.dtype, repeat: int = 5) -> tuple[float, float]:
    """FLOP/s of a large matrix product in this type, bytes/s of a large copy; the best of a few."""
    watch, side = Stopwatch(device), 8192 if device.type == 'cuda' else 1024
    a = torch.randn(side, side, device=device).to(dtype)
    large = torch.empty(2**28 if device.type == 'cuda' else 2**25, dtype=torch.float32, device=device)
    other = torch.empty_like(large)
    a @ a, other.copy_(large)
    product = min(watch(lambda: a @ a) for _ in range(repeat))
    copy = min(watch(lambda: other.copy_(large)) for _ in range(repeat))
    return 2 * side**3 / product, 2 * size([large]) / copy


def share(work: Work, seconds: list[float], peaks: tuple[float, float]) -> float:
    """The time that the machine would need at best, as a share of the time measured (median)."""
    return max(work.flops / peaks[0], work.moved / peaks[1]) / statistics.median(seconds)
