"""Checks every key of an option file before anything is built, so that no misspelt key is silently ignored.

Known are the blocks of every run (:mod:`run_options`); for datasets and models their class `Options`, or
:mod:`stock_keys`; for all else the parameters of its class or function (:mod:`signatures`). A class of another package
without `Options` takes a bare dict: every key is accepted.
"""

import inspect
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path as FilePath
from typing import Any

from pydantic import create_model

from refstar.utils.errors import RefStarError, nearest
from refstar.utils.option_block import AnyKey, DatasetOptions, Iterations, IterationsFrom0, OptionBlock

from . import run_options
from .run_options import Built, Metric, Named, Optimizer, Scheduler
from .signatures import call_block
from .stock_keys import STOCK, TYPES

STOCK_PACKAGES = ('basicsr', 'gfpgan', 'realesrgan')
BLOCKS = {
    '': run_options.TopLevel,
    'path': run_options.Path,
    'train': run_options.Train,
    'val': run_options.Val,
    'logger': run_options.Logger,
}
SCHEDULERS = {
    'MultiStepLR': 'MultiStepRestartLR',  # BasicSR's other name
    'MultiStepRestartLR': 'MultiStepRestartLR',
    'CosineAnnealingRestartLR': 'CosineAnnealingRestartLR',
}
PAIRS = (  # lists of one length
    ('kernel_list', 'kernel_prob'),
    ('kernel_list2', 'kernel_prob2'),
    ('periods', 'restart_weights'),
    ('restarts', 'restart_weights'),
)


# --------------------------------------------------------------------- schemas of models and datasets
def own_block(kind: type, block: str) -> type[OptionBlock] | None:
    """Returns the keys that one class among the bases of a model or dataset declares for a block; None for none."""
    declared = vars(kind).get('Options')
    if declared is not None:
        return getattr(declared, block.capitalize(), None) if block else declared
    if kind.__module__.partition('.')[0] not in STOCK_PACKAGES:
        return None
    keys: dict[str, Any] = {}
    for entry in STOCK.get(kind.__name__, '').split():
        path = entry.rstrip('!')
        where, _, name = path.rpartition('.')
        if where == block:
            what, is_needed = TYPES[path], path != entry
            may_be_none = not is_needed and what not in (Iterations, IterationsFrom0)
            keys[name] = (what | None if may_be_none else what, ... if is_needed else None)
    return create_model(kind.__name__, __base__=OptionBlock, **keys) if keys else None


@cache
def block_of(kind: type, block: str = '', every: type[OptionBlock] | None = None) -> type[OptionBlock]:
    """Returns the schema of a block for a model or dataset: the keys of every one, of its class, and of its bases.

    Args:
        kind: class of the model or dataset.
        block: 'train', 'val' ... of a model; '' for its top level, and for a dataset.
        every: keys of every dataset; None for a model.
    """
    every = every or BLOCKS[block]
    packages = {base.__module__.partition('.')[0] for base in kind.__mro__ if 'Options' not in vars(base)}
    bases: list[type[OptionBlock]] = []
    for own in (own_block(base, block) for base in kind.__mro__):
        if own is not None and not any(issubclass(base, own) for base in bases):
            bases.append(own)
    if not any(issubclass(base, every) for base in bases):
        bases.append(every)
    if packages - {*STOCK_PACKAGES, 'refstar', 'builtins', 'torch', 'typing'}:
        bases.append(AnyKey)
    extra: dict[str, Any] = {}
    if block == 'path':
        for name in (key for key in block_of(kind).model_fields if key.startswith('network_')):
            short = name.removeprefix('network_')
            texts = (f'pretrain_{name}', f'param_key_{short}')
            extra |= dict.fromkeys(texts, (str | None, None)) | {f'strict_load_{short}': (bool | None, None)}
        extra = {name: kind for name, kind in extra.items() if not any(name in base.model_fields for base in bases)}
    return create_model(block or kind.__name__, __base__=tuple(bases), **extra)


# --------------------------------------------------------------------- checks
def find(table: Any, name: Any, where: str, what: str) -> Any:
    """Returns a registered object.

    Raises:
        RefStarError: an unknown name, with the nearest ones.
    """
    table = dict(table) if isinstance(table, dict) else dict(iter(table))
    found = table.get(name, table.get(f'{name}_basicsr')) if isinstance(name, str) else None
    if found is None:
        raise RefStarError(f'unknown {what} {name!r} ({where}){nearest(name, table)}')
    return found


def check_call(block: Any, table: Any, where: str, what: str, base: type[OptionBlock] = Named) -> None:
    """Checks a block with the name of an object of a table, and its arguments."""
    target = find(table, Built.read(block, where).type, f'{where}:type', what)
    _check_lengths(dict(call_block(target, base).read(block, where)), where)


def _check_lengths(block: Mapping[str, Any], where: str) -> None:
    for keys in PAIRS:
        first, second = (block.get(key) for key in keys)
        if first is not None and second is not None and len(first) != len(second):
            raise RefStarError(
                f'{where}:{keys[0]} has {len(first)} entries, {keys[1]} has {len(second)}; both need one each'
            )


def _check_network(block: Any, where: str) -> None:
    from basicsr.utils.registry import ARCH_REGISTRY

    check_call(block, ARCH_REGISTRY, where, 'network')
    for key, inner in block.items():
        if isinstance(inner, dict) and ('type' in inner or key == 'backbone'):
            _check_network(inner, f'{where}:{key}')


def _check_scale(scale: int | None, network: Any) -> None:
    """Checks that the `scale` of the data is that of network_g; a network with a backbone measures its own, later."""
    from basicsr.utils.registry import ARCH_REGISTRY

    if not scale or not network or 'backbone' in network:
        return
    arch = find(ARCH_REGISTRY, network['type'], 'network_g', 'network')
    if arch.__module__.partition('.')[0] not in (*STOCK_PACKAGES, 'refstar'):
        return  # there `scale` may mean something else
    known = call_block(arch).model_fields
    for key in {'scale', 'upscale'} & set(known):
        found = network.get(key, known[key].default)
        if isinstance(found, (int, float)) and found != scale:
            raise RefStarError(f'scale: {scale}, but network_g:{key} enlarges {found} times; both must be the same')


def _check_existing(value: Any, where: str) -> None:
    """Checks that every path of `value` (a path, a list of paths or None) exists."""
    for path in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(path, str) and not FilePath(path).expanduser().exists():
            hint = '; see docs/data.md' if where.startswith('datasets') else ''
            raise RefStarError(f'{where}: {path} does not exist{hint}')


def _require(block: Any, keys: str, where: str = '') -> None:
    for key in keys.split():
        if not isinstance(block, dict) or block.get(key) is None:
            raise RefStarError(f'{where}{key} is missing in the option file')


def _check_datasets(blocks: dict, is_train: bool) -> None:
    from basicsr.utils.registry import DATASET_REGISTRY

    names: dict[str, str] = {}
    for phase, block in blocks.items():
        where, kind = f'datasets:{phase}', str(phase).split('_')[0]
        if kind not in ('train', 'val', 'test'):
            raise RefStarError(f'unknown phase {phase!r} ({where}){nearest(phase, ["train", "val", "test"])}')
        _require(block, 'name type', f'{where}:')
        target = find(DATASET_REGISTRY, block['type'], f'{where}:type', 'dataset')
        block_of(target, every=DatasetOptions).read(block, where)
        _check_lengths(block, where)
        if phase == 'train' and is_train:
            _require(block, 'batch_size_per_gpu num_worker_per_gpu', f'{where}:')
        elif names.setdefault(block['name'], where) != where:
            raise RefStarError(f'{where}:name: {block["name"]!r} is taken by {names[block["name"]]}; write another one')
        for key, value in block.items():
            if key.startswith('dataroot'):
                _check_existing(value, f'{where}:{key}')


def _check_train(model: type, block: dict) -> None:
    import torch
    from basicsr.models import lr_scheduler
    from basicsr.utils.registry import LOSS_REGISTRY

    schema = block_of(model, 'train')
    schema.read(block, 'train')
    losses = [key for key in schema.model_fields if key.endswith('_opt')]
    if losses and not any(inner for key, inner in block.items() if key.endswith('_opt')):
        raise RefStarError(f'train: no loss is given; at least one of {", ".join(losses)} is needed')
    schedulers = {name: getattr(lr_scheduler, kind) for name, kind in SCHEDULERS.items()}
    optimizers = {name: kind for name, kind in vars(torch.optim).items() if inspect.isclass(kind)}
    check_call(block['scheduler'], schedulers, 'train:scheduler', 'scheduler', Scheduler)
    periods, total = block['scheduler'].get('periods'), block['total_iter']
    if periods and sum(periods) < total - 1:
        raise RefStarError(f'train:scheduler:periods end after {sum(periods):g} of {total:g} iterations (total_iter)')
    for key, inner in block.items():
        if key.startswith('optim_') and inner is not None:
            check_call(inner, optimizers, f'train:{key}', 'optimizer', Optimizer)
        elif isinstance(inner, dict) and key != 'scheduler' and (key.endswith('_opt') or 'type' in inner):
            check_call(inner, LOSS_REGISTRY, f'train:{key}', 'loss')


def _check_val(model: type, block: dict) -> None:
    from basicsr.utils.registry import METRIC_REGISTRY

    block_of(model, 'val').read(block, 'val')
    for name, inner in (block.get('metrics') or {}).items():
        check_call(inner, METRIC_REGISTRY, f'val:metrics:{name}', 'metric', Metric)


def _check_logger(model: type, block: dict) -> None:
    logger = block_of(model, 'logger').read(block, 'logger')
    wandb = bool(logger.wandb and logger.wandb.project)
    if wandb and not logger.use_tb_logger:
        raise RefStarError('logger:wandb: takes its figures from TensorBoard; set logger:use_tb_logger: true')
    for key, is_used, package in (('wandb', wandb, 'wandb'), ('use_tb_logger', logger.use_tb_logger, 'tensorboard')):
        if is_used and find_spec(package) is None:
            raise RefStarError(f'logger:{key}: {package} is not installed (pip install {package})')


def check_options(opt: dict, is_train: bool, auto_resume: bool = False) -> None:
    """Checks the keys, types, required entries and paths of the options of one run; imports basicsr.

    Args:
        opt: options as in the file (`option_file.load_options`).
        is_train: training or test. A test reads neither `train` nor `logger`.
        auto_resume: whether the latest checkpoints may take the place of the pretrained ones, which may then be gone.

    Raises:
        RefStarError: with the full path of the first wrong key and the nearest known one.
    """
    import basicsr  # noqa: F401, fills the registries
    import torch
    from basicsr.utils.registry import MODEL_REGISTRY

    _require(opt, 'name model_type datasets')
    model = find(MODEL_REGISTRY, opt['model_type'], 'model_type', 'model')
    block_of(model).read(opt)
    for key, block in opt.items():
        if key.startswith('network_') and block is not None:
            _check_network(block, key)
    _check_scale(opt.get('scale'), opt.get('network_g'))
    _check_datasets(opt['datasets'], is_train)
    path = opt.get('path') or {}
    block_of(model, 'path').read(path, 'path')
    resumed = is_train and (auto_resume or path.get('resume_state'))
    for key, value in path.items():
        if key == 'resume_state' or (key.startswith('pretrain_') and not resumed):
            _check_existing(value, f'path:{key}')
    if opt.get('val') is not None:
        _check_val(model, opt['val'])
    if not is_train:
        _require(opt, 'val')
        _require(opt['val'], 'save_img', 'val:')
        return
    _require(opt, 'train logger')
    _require(opt['datasets'], 'train', 'datasets:')
    _check_train(model, opt['train'])
    _check_logger(model, opt['logger'])
    if opt.get('val') is not None:
        _require(opt['val'], 'val_freq save_img', 'val:')
    on_gpu = opt.get('num_gpu', 'auto') != 0 and torch.cuda.is_available()
    if opt['datasets']['train'].get('prefetch_mode') == 'cuda' and not on_gpu:
        raise RefStarError('datasets:train:prefetch_mode: cuda needs a GPU, and there is none; write cpu')
