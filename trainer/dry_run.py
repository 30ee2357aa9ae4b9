"""`basicsr train --dry_run`: builds everything, runs one step, says what it takes, and writes nothing."""

import math
import re
import resource
from typing import Any

import torch
from basicsr import train as train_module
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from .known_keys import explanations
from .speed import networks
from .step_timer import Clock

MIB = 2**20


def watch_model(clock: Clock, model: BaseModel) -> None:
    """Parts of a step: networks and their modules, losses, optimizers, EMA."""
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


def costly_iteration(train: dict[str, Any], told: dict[str, str]) -> int:
    """Number of an iteration in which everything is due that runs now and then: R1, the cycle pass ...

    Args:
        train: block of the option file.
        told: `option_keys` of the model, whose lines say `(default 16)`.
    """
    found = {key.removeprefix('train.'): re.search(r'\(default (\d+)', text) for key, text in told.items()}
    train = {key: int(default[1]) for key, default in found.items() if default} | train
    every = math.lcm(*(int(value) for key, value in train.items() if key.endswith('_every') and value))
    start = max((value for key, value in train.items() if key.endswith(('_start', '_init_iters')) and value), default=0)
    return every * (int(start) // every + 1)


def dry_run(root_path: str) -> None:
    """Takes the place of BasicSR's `train_pipeline`."""
    opt, _ = train_module.parse_options(root_path, is_train=True)
    clock = Clock()
    with clock.part('data sets'):
        loader, sampler, *_ = train_module.create_train_val_dataloader(opt, get_root_logger())
    with clock.part('model'):
        model = train_module.build_model(opt)
    building = dict(clock.seconds)

    watch_model(clock, model)
    sampler.set_epoch(0)
    batches, batch, number = iter(loader), None, costly_iteration(opt['train'], explanations(type(model)))
    plain_backward = Tensor.backward
    clock.watch(Tensor, 'backward', 'backward passes')
    try:
        for _ in range(2):  # the first step also compiles, and takes memory for the first time
            clock.seconds.clear()
            with clock.part('waiting for data'):
                batch = next(batches, batch)
            with clock.part('everything else'):
                model.feed_data(batch)
                model.optimize_parameters(number)
    finally:
        Tensor.backward = plain_backward
    if opt['rank'] == 0:
        print(summary(model, building, clock.seconds, number), flush=True)


def summary(model: BaseModel, building: dict[str, float], step: dict[str, float], number: int) -> str:
    """What is printed."""
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
    lines.append(f'  {"together":<32}{total:10.3f}')
    if torch.cuda.is_available():
        peak, where = torch.cuda.max_memory_allocated(), 'GPU memory'
    else:
        peak, where = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, 'memory of the process'
    return '\n'.join([*lines, '', f'Largest {where}: {peak / MIB:.0f} MiB'])
