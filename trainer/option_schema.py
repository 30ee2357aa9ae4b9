"""Checks every key of an option file before anything is built, so that no misspelt key is silently ignored.

Where the known keys come from: the classes that are named (:mod:`known_keys`); :mod:`basicsr_keys`, what BasicSR's own
pipelines read; :mod:`switches`, what is added to them. The last two also say what a value may be.

A class attribute `option_blocks` maps a parameter to the class (or registered name) whose parameters the block under
that key may have.
"""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from refstar.utils.errors import RefStarError, nearest

from . import training_options
from .basicsr_keys import DATASET, DIST, LOGGER, OPTIMIZER, PATH, SCHEDULER, TOP, TRAIN, UNREAD, VAL, WANDB, by_ending
from .known_keys import option_keys, parameters
from .training_options import Key, check_values

SCHEDULERS = {'MultiStepLR': 'MultiStepRestartLR'}  # BasicSR's other name


def unknown(key: str, known: Iterable[str], where: str, what: str = 'key') -> RefStarError:
    """Returns the error for a name that is not among the known ones, with the nearest of them.

    Args:
        key: the unknown name.
        known: names that would be right.
        where: full path of the key in the option file, `train:optim_g:`; may be empty.
        what: 'key', 'dataset' ...
    """
    return RefStarError(f'unknown {what} {key!r} ({where.rstrip(":")}){nearest(key, known)}')


def check_keys(block: Any, known: Iterable[str], where: str) -> None:
    """Raises RefStarError at the first key of `block` that is not in `known`."""
    if not isinstance(block, dict):
        raise RefStarError(f'{where.rstrip(":")}: expected a block of `key: value`, got {block!r}')
    known = set(known)
    for key in block:
        if key not in known:
            raise unknown(key, known, f'{where}{key}')


def find(registry: Any, name: Any, where: str, what: str) -> Any:
    """Returns the registered object; an unknown name is a RefStarError with the nearest names."""
    table = registry._obj_map
    found = table.get(name, table.get(f'{name}_basicsr')) if isinstance(name, str) else None
    if found is None:
        raise unknown(name, table, where, what)
    return found


class _Checker:
    """One option file on its way through the checks."""

    def __init__(self, opt: dict, is_train: bool, auto_resume: bool) -> None:
        import torch
        from basicsr.models import lr_scheduler
        from basicsr.utils import registry

        self.opt, self.is_train, self.auto_resume = opt, is_train, auto_resume
        self.registry, self.optimizers, self.schedulers = registry, torch.optim, lr_scheduler

    def run(self) -> None:
        opt = self.opt
        self.require(opt, 'name model_type datasets', '')
        self.model = find(self.registry.MODEL_REGISTRY, opt['model_type'], 'model_type', 'model')
        networks = {key for key in option_keys(self.model) if key.startswith('network_')}
        self.block(opt, TOP)
        for key, block in opt.items():
            if key.startswith('network_') and block is not None:
                self.network(block, f'{key}:')
        self.datasets(opt['datasets'])
        self.path(opt.get('path') or {}, networks)
        if opt.get('val') is not None:
            self.val(opt['val'])
        if opt.get('dist_params') is not None:
            self.block(opt['dist_params'], DIST, 'dist_params')
        if opt.get('train') is not None:
            self.train(opt['train'])
        if opt.get('logger') is not None:
            self.logger(opt['logger'])
        self.required_blocks()

    def required_blocks(self) -> None:
        opt = self.opt
        if self.is_train:
            self.require(opt, 'train logger', '')
            self.require(opt['datasets'], 'train', 'datasets:')
            self.require(opt['train'], 'total_iter', 'train:')
            self.require(opt['logger'], 'print_freq save_checkpoint_freq', 'logger:')
            if opt.get('val') is not None:
                self.require(opt['val'], 'val_freq save_img', 'val:')
        else:
            self.require(opt, 'val', '')
            self.require(opt['val'], 'save_img', 'val:')

    def require(self, block: dict, keys: str, where: str) -> None:
        for key in keys.split():
            if not isinstance(block, dict) or block.get(key) is None:
                raise RefStarError(f'{where}{key} is missing in the option file')

    def block(self, block: Any, keys: dict[str, Key], name: str = '') -> None:
        """Checks the block of that name: its keys, and the values of those among `keys`."""
        where = name and f'{name}:'
        check_keys(block, {*keys, *option_keys(self.model, name or None)}, where)
        check_values(block, keys, where)

    def call(self, block: dict, target: Any, where: str, extra: Iterable[str] = ()) -> None:
        """Checks a block whose keys are the parameters of `target`."""
        known = parameters(target)
        if known is not None:
            check_keys(block, {'type', *extra, *known}, where)
        for key, inner in getattr(target, 'option_blocks', {}).items():
            if isinstance(block.get(key), dict):
                if isinstance(inner, str):
                    inner = find(self.registry.ARCH_REGISTRY, inner, f'{where}{key}', 'network')
                self.call(block[key], inner, f'{where}{key}:')

    def network(self, block: Any, where: str) -> None:
        self.require(block, 'type', where)
        target = find(self.registry.ARCH_REGISTRY, block['type'], f'{where}type', 'network')
        self.call(block, target, where)
        for key, inner in block.items():
            if isinstance(inner, dict) and 'type' in inner:
                self.network(inner, f'{where}{key}:')

    def datasets(self, blocks: Any) -> None:
        if not isinstance(blocks, dict) or not blocks:
            raise RefStarError('datasets: expected blocks train, val, test ...')
        for phase, block in blocks.items():
            where = f'datasets:{phase}:'
            if str(phase).split('_')[0] not in ('train', 'val', 'test'):
                raise unknown(phase, ['train', 'val', 'test'], where, 'phase')
            self.require(block, 'name type', where)
            target = find(self.registry.DATASET_REGISTRY, block['type'], f'{where}type', 'dataset')
            check_keys(block, {*DATASET, *option_keys(target), *UNREAD.get(block['type'], ())}, where)
            check_values(block, DATASET, where)
            if phase == 'train' and self.is_train:
                self.require(block, 'batch_size_per_gpu', where)
                if block.get('num_worker_per_gpu') is None:
                    raise RefStarError(f'{where}num_worker_per_gpu is missing in the option file')
            for key, value in block.items():
                if key.startswith('dataroot'):
                    self.existing(value, f'{where}{key}')

    def existing(self, value: Any, where: str) -> None:
        """Every path of `value` (a path, a list of paths or None) must exist."""
        for path in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(path, str) and not Path(path).expanduser().exists():
                raise RefStarError(f'{where}: {path} does not exist')

    def path(self, block: dict, networks: set[str]) -> None:
        keys = {f'pretrain_{name}': PATH['pretrain_network_g'] for name in networks}
        short = [name.removeprefix('network_') for name in networks]
        keys |= {f'{key}_{name}': PATH[f'{key}_g'] for name in short for key in ('param_key', 'strict_load')}
        self.block(block, {**PATH, **keys}, 'path')
        resumed = self.is_train and (self.auto_resume or block.get('resume_state'))
        for key, value in block.items():
            if key == 'resume_state' or (key.startswith('pretrain_') and not resumed):
                self.existing(value, f'path:{key}')

    def train(self, block: dict) -> None:
        self.block(block, {**TRAIN, **training_options.TRAIN}, 'train')
        check_values(block, by_ending(block), 'train:')
        for key, inner in block.items():
            where = f'train:{key}:'
            if key.startswith('optim_') and inner is not None:
                self.require(inner, 'type lr', where)
                target = getattr(self.optimizers, str(inner['type']), None)
                if not inspect.isclass(target):
                    raise unknown(inner['type'], dir(self.optimizers), f'{where}type', 'optimizer')
                self.call(inner, target, where)
                check_values(inner, OPTIMIZER, where)
            elif not isinstance(inner, dict):
                continue
            elif key == 'scheduler':
                self.require(inner, 'type', where)
                name = SCHEDULERS.get(str(inner['type']), inner['type'])
                if name not in ('MultiStepRestartLR', 'CosineAnnealingRestartLR'):
                    known = ('MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR')
                    raise unknown(name, known, f'{where}type', 'scheduler')
                self.call(inner, getattr(self.schedulers, name), where)
                check_values(inner, SCHEDULER, where)
            elif 'type' in inner or key.endswith('_opt'):
                self.require(inner, 'type', where)
                self.call(inner, find(self.registry.LOSS_REGISTRY, inner['type'], f'{where}type', 'loss'), where)
                check_values(inner, by_ending(inner), where)

    def val(self, block: dict) -> None:
        self.block(block, VAL, 'val')
        for name, inner in (block.get('metrics') or {}).items():
            where = f'val:metrics:{name}:'
            self.require(inner, 'type', where)
            target = find(self.registry.METRIC_REGISTRY, inner['type'], f'{where}type', 'metric')
            self.call(inner, target, where, ['better'])

    def logger(self, block: dict) -> None:
        self.block(block, {**LOGGER, **training_options.LOGGER}, 'logger')
        self.kept_best(block.get('keep_best'))
        if block.get('wandb') is not None:
            check_keys(block['wandb'], WANDB, 'logger:wandb:')
            check_values(block['wandb'], WANDB, 'logger:wandb:')

    def kept_best(self, metric: str | None) -> None:
        metrics = (self.opt.get('val') or {}).get('metrics') or {}
        if metric and metric not in metrics:
            raise RefStarError(f'logger:keep_best: {metric!r} is not in val:metrics{nearest(metric, metrics)}')


def check_options(opt: dict, is_train: bool, auto_resume: bool = False) -> None:
    """Checks the keys, types, required entries and paths of the options of one run; imports basicsr.

    Args:
        opt: options as in the file (`option_file.load_options`).
        is_train: training or test.
        auto_resume: whether the latest checkpoints may take the place of the pretrained ones, which may then be gone.

    Raises:
        RefStarError: with the full path of the first wrong key and the nearest known one.
    """
    import basicsr  # noqa: F401, fills the registries

    _Checker(opt, is_train, auto_resume).run()
