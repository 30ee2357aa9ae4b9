"""`basicsr train --dry_run`: builds everything, runs one step, prints time and memory, writes nothing."""

import math
from typing import Any

import torch
from basicsr import train as basicsr_train
from basicsr.models.base_model import BaseModel
from torch import Tensor, nn

from . import interruption
from .loop import read_options, train_loader, val_loaders
from .network_setup import networks
from .option_check import block_of
from .progress import Clock
from .training_step import step_of

MIB = 2**20


def dry_run(root_path: str) -> None:
    """Runs in place of `train_pipeline`."""
    opt: dict[str, Any] = {}
    with interruption.ends_in_order(opt, interruption.end_at_once):
        read_options(opt, root_path)
        clock = Clock()
        with clock.part('datasets'):
            loader, _ = train_loader(opt), val_loaders(opt)
        with clock.part('model'):
            model = basicsr_train.build_model(opt)
        building = dict(clock.seconds)
        _watch(clock, model)
        batches, batch, number = iter(loader), None, costly_iteration(type(model), opt['train'])
        for _ in range(2):  # the first step also compiles, and takes memory for the first time
            clock.seconds.clear()
            with clock.part('waiting for data'):
                batch = next(batches, batch)
            with clock.part('everything else'):
                model.feed_data(batch)
                model.optimize_parameters(number)
        if opt['rank'] == 0:
            print(_summary(model, building, clock.seconds, number), flush=True)


def _watch(clock: Clock, model: BaseModel) -> None:
    """Times the parts of a step: networks and their modules, losses, optimizers, EMA."""
    for name, net in networks(model).items():
        clock.watch(net, 'forward', f'net_{name}')
        for child, module in net.named_children():
            clock.watch(module, 'forward', f'net_{name}.{child}')
    losses = [loss for name, loss in vars(model).items() if name.startswith('cri') and isinstance(loss, nn.Module)]
    for loss in losses:
        for part in loss.values() if isinstance(loss, nn.ModuleDict) else [loss]:
            clock.watch(part, 'forward', type(part).__name__)
    for optimizer in model.optimizers:
        clock.watch(optimizer, 'step', 'optimizers')
    clock.watch(model, 'model_ema', 'EMA')
    clock.watch(step_of(model), 'backward', 'backward passes')  # of models of this project


def costly_iteration(model: type, train: dict[str, Any]) -> int:
    """Returns the number of an iteration in which everything is due that runs now and then: R1, the cycle pass ...

    Args:
        model: its class, which has the defaults.
        train: block of the option file.
    """
    fields = block_of(model, 'train').model_fields
    train = {key: field.default for key, field in fields.items() if isinstance(field.default, int)} | train
    every = math.lcm(*(int(value) for key, value in train.items() if key.endswith('_every') and value))
    start = max((value for key, value in train.items() if key.endswith(('_start', '_init_iters')) and value), default=0)
    return every * (int(start) // every + 1)


def _summary(model: BaseModel, building: dict[str, float], step: dict[str, float], number: int) -> str:
    lines = ['Dry run: nothing was written.', '', 'Built in seconds']
    lines += [f'  {name:<32}{seconds:10.2f}' for name, seconds in building.items()]
    lines += ['', 'Networks: million parameters, MiB']
    for name, net in networks(model).items():
        count = sum(p.numel() for p in net.parameters())
        size = sum(x.numel() * x.element_size() for x in [*net.parameters(), *net.buffers()])
        lines.append(f'  {f"net_{name}":<32}{count / 1e6:10.2f}{size / MIB:10.1f}')
    states = [
        x for o in model.optimizers for state in o.state.values() for x in state.values() if isinstance(x, Tensor)
    ]
    lines.append(f'  {"optimizers":<42}{sum(x.numel() * x.element_size() for x in states) / MIB:10.1f}')
    total = sum(step.values())
    lines += ['', f'One step, with all that is due in iteration {number}: seconds, share']
    for name, seconds in sorted(step.items(), key=lambda item: -item[1]):
        lines.append(f'  {name:<32}{seconds:10.3f}{seconds / total:10.0%}')
    return '\n'.join([*lines, f'  {"together":<32}{total:10.3f}', '', _memory()])


def _memory() -> str:
    if torch.cuda.is_available():
        return f'Largest GPU memory: {torch.cuda.max_memory_allocated() / MIB:.0f} MiB'
    try:
        import resource
    except ImportError:  # Windows
        return 'Memory of the process: not measured on this system'
    return f'Largest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB'
