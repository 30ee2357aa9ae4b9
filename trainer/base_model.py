"""Methods that replace those of BasicSR's `BaseModel` (basicsr/models/base_model.py, version 1.4.2).

Each says what is wrong with the original, or missing in it, after the line of the original. :mod:`patches` puts them
in place.
"""

import inspect
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info, master_only
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from refstar.utils.checkpoint import require_fit, save_atomically, state_dict_of
from refstar.utils.errors import RefStarError, nearest

from . import resume
from .training_step import step_of
from .validation import seeded

FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)  # on the CPU as well as on CUDA


def get_optimizer(
    self: BaseModel, optim_type: str, params: Iterable, lr: float, **kwargs: Any
) -> torch.optim.Optimizer:
    """Line 103. Knows Adam only, and current torch refuses GFPGAN's betas `(0, 0.99)`, which mix int and float.

    The fused form is the default where there is one: one pass over the weights, and no wait for the device.
    """
    kind = getattr(torch.optim, optim_type, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise RefStarError(f'unknown optimizer {optim_type!r}{nearest(optim_type, dir(torch.optim))}')
    if 'betas' in kwargs:
        kwargs['betas'] = tuple(map(float, kwargs['betas']))
    if kind in FUSED and not {'fused', 'foreach'} & set(kwargs):
        kwargs['fused'] = True
    return step_of(self).control(kind(params, lr=lr, **kwargs), is_generator=not self.optimizers)


def model_to_device(self: BaseModel, net: nn.Module) -> nn.Module:
    """Line 87. Asks for the current CUDA device in every distributed run, also on the CPU."""
    net = net.to(self.device)
    if self.opt['dist']:
        device_ids = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
        unused = self.opt.get('find_unused_parameters', False)
        return DistributedDataParallel(net, device_ids=device_ids, find_unused_parameters=unused)
    return DataParallel(net) if self.opt['num_gpu'] > 1 else net


@master_only
def save_network(
    self: BaseModel,
    net: nn.Module | list[nn.Module],
    net_label: str,
    current_iter: int,
    param_key: str | list[str] = 'params',
) -> None:
    """Line 196. Overwrites in place (a kill leaves half a file) and ignores a failed write."""
    label = 'latest' if current_iter == -1 else current_iter
    nets = net if isinstance(net, list) else [net]
    keys = param_key if isinstance(param_key, list) else [param_key]
    if len(nets) != len(keys):
        raise ValueError(f'{len(nets)} networks but {len(keys)} parameter keys')
    content = {
        key: {
            name.removeprefix('module.'): value.cpu() for name, value in self.get_bare_model(net).state_dict().items()
        }
        for net, key in zip(nets, keys, strict=True)
    }
    save_atomically(content, Path(self.opt['path']['models']) / f'{net_label}_{label}.pth')


def save_training_state(self: BaseModel, epoch: int, current_iter: int) -> None:
    """Line 306. As `save_network`; and leaves out the random states, so a resumed run differs."""
    if current_iter == -1:
        return
    random_states = resume.gather_random_states()
    if get_dist_info()[0] != 0:
        return
    state = {
        'epoch': epoch,
        'iter': current_iter,
        'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        'step': step_of(self).state_dict(),
        'manual_seed': self.opt.get('manual_seed'),
        'best_metric_results': _plain_values(getattr(self, 'best_metric_results', {})),
        'random_states': random_states,
    }
    save_atomically(state, Path(self.opt['path']['training_states']) / f'{current_iter}.state')
    resume.prune(self.opt, current_iter)


def _plain_values(results: Any) -> Any:
    """Returns best figures without numpy's numbers, which `torch.load` refuses elsewhere."""
    if isinstance(results, dict):
        return {name: _plain_values(value) for name, value in results.items()}
    return results.item() if hasattr(results, 'item') else results


def resume_training(self: BaseModel, resume_state: dict[str, Any]) -> None:
    """Line 340. Knows optimizers and schedulers only; a file of another recipe ends in an assertion, or overwrites what
    the option file says about the learning rate."""
    try:
        for name in ('optimizers', 'schedulers'):
            saved, own = len(resume_state[name]), len(getattr(self, name))
            if saved != own:
                raise ValueError(f'{saved} {name} instead of {own}')
        for optimizer, state in zip(self.optimizers, resume_state['optimizers'], strict=True):
            for group, own in zip(state['param_groups'], optimizer.param_groups, strict=False):
                group.update({key: own[key] for key in ('fused', 'foreach') if key in own})
            optimizer.load_state_dict(state)
        for scheduler, state in zip(self.schedulers, resume_state['schedulers'], strict=True):
            own = {*inspect.signature(type(scheduler)).parameters, 'cumulative_period'} - {'last_epoch'}
            scheduler.load_state_dict({key: value for key, value in state.items() if key not in own})
    except (ValueError, KeyError, TypeError) as error:
        raise RefStarError(
            f'path:resume_state: optimizers or schedulers are not those of this option file ({error}); {resume.SAME}'
        ) from error
    step_of(self).load_state_dict(resume_state.get('step', {}))
    if resume_state.get('best_metric_results'):
        self.best_metric_results = resume_state['best_metric_results']
    resume.restore_random_states(resume_state)


def load_network(
    self: BaseModel, net: nn.Module, load_path: str, strict: bool = True, param_key: str = 'params'
) -> None:
    """Line 277. Ends in a page of keys and a traceback when the file belongs to another network.

    A key that an option gives also counts for those networks for which BasicSR reads no such option (EMA, GFPGAN's).
    """
    net = self.get_bare_model(net)
    paths = self.opt.get('path') or {}
    names = (name.removeprefix('pretrain_network_') for name, file in paths.items() if file == load_path)
    option = f'param_key_{next(names, "g")}'
    state = state_dict_of(load_path, param_key, paths.get(option, param_key), f'path:{option}')
    get_root_logger().info(f'Loading {type(net).__name__} from {load_path}, with param key: [{param_key}].')
    if strict is not False:  # GFPGAN's option files write `strict_load_g: ~` for the default
        require_fit(net, state, load_path)
    else:
        self._print_different_keys_loading(net, state, strict=False)
    net.load_state_dict(state, strict=strict is not False)


@torch.no_grad()
def model_ema(self: BaseModel, decay: float = 0.999) -> None:
    """Line 75. Goes from weight to weight, and leaves buffers (the statistics of BatchNorm) as they were at the start.

    After a skipped step the average stays; the host does not know of it, so the share of the weights becomes 0.
    """
    step, net, ema = step_of(self), self.get_bare_model(self.net_g), self.net_g_ema
    old, new, share = list(ema.parameters()), list(net.parameters()), 1 - decay
    torch._foreach_lerp_(old, new, share if step.skipped_g is None else [share * ~step.skipped_g] * len(old))
    for mean, buffer in zip(ema.buffers(), net.buffers(), strict=True):
        mean.copy_(buffer)


@torch.no_grad()
def reduce_loss_dict(self: BaseModel, loss_dict: dict[str, torch.Tensor]) -> OrderedDict:
    """Line 355. Waits for the device in every iteration to make numbers of losses; here they stay tensors."""
    if not loss_dict:
        return OrderedDict()
    losses = torch.stack([value.detach().float().mean() for value in loss_dict.values()])
    if self.opt['dist']:
        torch.distributed.reduce(losses, dst=0)
        rank, world_size = get_dist_info()
        losses = losses / world_size if rank == 0 else losses
    return OrderedDict(zip(loss_dict, losses.unbind(), strict=True))


def get_current_log(self: BaseModel) -> OrderedDict:
    """Line 84. Makes numbers of the losses: the one time that the host waits for the device."""
    return OrderedDict((name, float(value)) for name, value in self.log_dict.items())


def validation(
    self: BaseModel, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False
) -> None:
    """Line 36. Draws from the random states of the training, so that it depends on when it is validated.

    A set without GT would be compared with the last photo of the training, which a model of BasicSR keeps.
    """
    states, self.is_validating = resume.random_states(), True
    vars(self).pop('gt', None)
    dataloader = seeded(dataloader, self.opt.get('manual_seed') or 0)
    validate = self.dist_validation if self.opt['dist'] else self.nondist_validation
    validate(dataloader, current_iter, tb_logger, save_img)
    resume.set_random_states(states)
    self.is_validating = False
