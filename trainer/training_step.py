"""One training step: mixed precision, clipping, and steps skipped where a gradient is not finite.

A model of this project (`runs_training_step = True`) computes its losses within :meth:`TrainingStep.autocast` and
hands them to :meth:`TrainingStep.backward`. A model of BasicSR calls `loss.backward()` and `optimizer.step()` itself:
its networks run under autocast, hooks note its losses, and the step acts at its optimizers (`BaseModel.get_optimizer`).
Nothing here waits for the device; what the host has to know is read when the log is printed.
"""

from collections import OrderedDict
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from .network_setup import networks, prepare_networks

TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class TrainingStep:
    """Options of the training step of one model, and its state.

    Attributes:
        norm (Tensor | None): norm of net_g's gradient in this step, before clipping.
        skipped_g (Tensor | None): bool, whether net_g's step was skipped; None before it.
    """

    def __init__(self, opt: dict[str, Any], device: str) -> None:
        train = opt.get('train') or {}
        self.device = device
        self.dtype = TYPES.get(train.get('amp'))
        self.clip = train.get('grad_clip') or 0
        self.limit = train.get('nonfinite_limit') or 10
        self.scaler = torch.amp.GradScaler(self.device, enabled=self.dtype is torch.float16)
        self.norm = self.skipped_g = None
        self.statistics: list[Tensor] | None = None
        self.finite: Tensor | None = None  # whether every loss of this iteration was, so far
        self.found: list[Tensor] = []  # one bool per optimizer that stepped: its step was skipped
        self.in_a_row = self.skipped = torch.zeros((), dtype=torch.int32, device=self.device)
        self.bad_terms: dict[tuple[str, ...], Tensor] = {}  # names of logged terms -> which were not finite

    # ----------------------------------------------------------------- for models of this project
    def autocast(self) -> torch.autocast:
        """Returns the context of forward passes and losses."""
        return torch.autocast(self.device, self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Runs the backward pass of a loss, scaled for fp16; to be called outside of `autocast`."""
        self.note(loss)
        self.scaler.scale(loss).backward()

    def note(self, loss: Any) -> None:
        """Notes whether a loss, or every one of several, is finite."""
        for value in loss if isinstance(loss, (list, tuple)) else [loss]:
            if isinstance(value, Tensor):
                finite = value.detach().isfinite().all()
                self.finite = finite if self.finite is None else self.finite & finite

    # ----------------------------------------------------------------- at the optimizers
    def control(self, optimizer: Optimizer, is_generator: bool) -> Optimizer:
        """Puts this step's rules in front of `step` of an optimizer."""
        plain_step = optimizer.step

        def step(optimizer: Optimizer) -> None:
            self.update(optimizer, plain_step, is_generator)

        optimizer.step = MethodType(step, optimizer)
        return optimizer

    def update(self, optimizer: Optimizer, plain_step: Callable[[], Any], is_generator: bool) -> None:
        """Unscales and clips the gradient, and steps if it and the losses are finite.

        Fused optimizers look at that on the device; for others the host has to wait.
        """
        grads = [p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        if not grads:
            plain_step()
            return
        self.scaler.unscale_(optimizer)
        norm = nn.utils.get_total_norm(grads)
        if is_generator:
            self.norm = norm
            if self.clip:
                torch._foreach_mul_(grads, (self.clip / (norm + 1e-6)).clamp_max(1))
        bad = self._in_any_process(~norm.isfinite() if self.finite is None else ~(norm.isfinite() & self.finite))
        self.found.append(bad)
        if is_generator:
            self.skipped_g = bad
        if getattr(optimizer, '_step_supports_amp_scaling', False):
            optimizer.grad_scale, optimizer.found_inf = None, bad.float()
            plain_step()
            del optimizer.grad_scale, optimizer.found_inf
        elif not bad:
            plain_step()
        torch.clear_autocast_cache()

    @staticmethod
    def _in_any_process(bad: Tensor) -> Tensor:
        """Returns whether it is bad in any process: all must skip the step, or none."""
        if not distributed.is_initialized():
            return bad
        count = bad.float()
        distributed.all_reduce(count)
        return count > 0

    # ----------------------------------------------------------------- around a step
    def run(self, model: BaseModel, optimize: Callable[[int], None], current_iter: int) -> None:
        """Runs one iteration."""
        if self.statistics is None:
            self.statistics = _running_statistics(model)
        before = [buffer.clone() for buffer in self.statistics]
        self.norm, self.skipped_g, self.finite, self.found = None, None, None, []
        optimize(current_iter)
        model.log_dict = OrderedDict(getattr(model, 'log_dict', {}))
        self._conclude(model.log_dict, before)

    def _conclude(self, log: dict[str, Any], before: list[Tensor]) -> None:
        """Counts what was not finite, on the device."""
        if self.scaler.is_enabled() and self.found:
            self.scaler.update()
        terms = {name: value for name, value in log.items() if isinstance(value, Tensor)}
        if terms:
            bad = ~torch.stack(list(terms.values())).isfinite()
            names = tuple(terms)
            self.bad_terms[names] = self.bad_terms[names] | bad if names in self.bad_terms else bad
        if self.clip and self.norm is not None:
            log['grad_norm'] = self.norm
        if not self.found:
            return
        bad = torch.stack(self.found).any()
        self.in_a_row = torch.where(bad, self.in_a_row + 1, 0)
        self.skipped = self.skipped + bad
        for buffer, old in zip(self.statistics, before, strict=True):
            buffer.copy_(torch.where(bad, old, buffer))

    # ----------------------------------------------------------------- when the log is printed
    def log_skipped(self) -> str | None:
        """Logs which steps were skipped since the last call.

        Returns:
            Why the training must stop, or None.
        """
        skipped, in_a_row = int(self.skipped), int(self.in_a_row)
        bad: dict[str, bool] = {}
        for names, flags in self.bad_terms.items():
            bad |= {name: True for name, is_bad in zip(names, flags.tolist(), strict=True) if is_bad}
        self.skipped, self.bad_terms = torch.zeros_like(self.skipped), {}
        what = f'{", ".join(bad)} not finite' if bad else 'all losses finite, but not the gradient'
        if skipped:
            scale = f', loss scale now {self.scaler.get_scale():g}' if self.scaler.is_enabled() else ''
            get_root_logger().warning(f'{skipped} steps skipped since the last line: {what}{scale}.')
        if in_a_row < self.limit or (self.scaler.is_enabled() and self.scaler.get_scale() > 1):
            return None
        return f'the last {in_a_row} steps were skipped (train:nonfinite_limit is {self.limit}): {what}'

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs."""
        return {'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` returned; a run without fp16 so far begins with a new scale."""
        if self.scaler.is_enabled() and state.get('scaler'):
            self.scaler.load_state_dict(state['scaler'])


def _running_statistics(model: BaseModel) -> list[Tensor]:
    """Returns the buffers that a forward pass changes: a batch that is not finite spoils them."""
    modules = [module for net in networks(model).values() for module in net.modules()]
    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._NormBase)]
    return [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]


def step_of(model: BaseModel) -> TrainingStep:
    """Returns the step of a model; made at the first call."""
    if 'training_step' not in vars(model):
        model.training_step = TrainingStep(model.opt, model.device.type)
    return model.training_step


def take_over(model: BaseModel) -> None:
    """Lets a model that was built for training run by its :class:`TrainingStep`."""
    step, optimize = step_of(model), model.optimize_parameters

    def optimize_parameters(current_iter: int) -> None:
        step.run(model, optimize, current_iter)

    prepare_networks(model)
    if not getattr(model, 'runs_training_step', False):
        for name, loss in vars(model).items():
            if name.startswith('cri_') and isinstance(loss, nn.Module):
                loss.register_forward_hook(lambda module, args, value: step.note(value))
    model.optimize_parameters = optimize_parameters
