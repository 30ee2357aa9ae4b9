"""Checks every key of an option file before anything is built, so that no misspelt key is silently ignored.

Known are the blocks of every run (:mod:`run_options`), the parameters of networks, losses, metrics, optimizers and
schedulers, and for datasets and models their class `Options`, or :mod:`stock_keys`. A class of another package without
`Options` takes a bare dict: every key is accepted.
"""

import inspect
from collections.abc import Iterable
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from pydantic import ConfigDict, create_model

from refstar.utils.errors import RefStarError, nearest
from refstar.utils.option_block import DatasetOptions, Iterations, IterationsFrom0, OptionBlock

from . import run_options
from .run_options import Loss, Metric, Network, Optimizer
from .stock_keys import STOCK_DATASETS, STOCK_KEYS, STOCK_MODELS

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


class _Open(OptionBlock):
    model_config = ConfigDict(extra='allow')


def _package(kind: type) -> str:
    return kind.__module__.partition('.')[0]


def _keys(kinds: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Returns fields for `create_model` that may be left out; counts of iterations may not be `~`."""
    counts = (Iterations, IterationsFrom0)
    return {name: (kind if kind in counts or kind is Any else kind | None, None) for name, kind in kinds}


def own_block(kind: type, block: str) -> type[OptionBlock] | None:
    """Returns the keys that one class among a model's bases declares for a block; None for none."""
    declared = vars(kind).get('Options')
    if declared is not None:
        return getattr(declared, block.capitalize(), None) if block else declared
    if _package(kind) not in STOCK_PACKAGES:
        return None
    split = [key.rpartition('.') for key in STOCK_MODELS.get(kind.__name__, '').split()]
    found = [(name, STOCK_KEYS[f'{where}.{name}'.lstrip('.')][0]) for where, _, name in split if where == block]
    return create_model(kind.__name__, __base__=OptionBlock, **_keys(found)) if found else None


@cache
def block_of(model: type, block: str = '') -> type[OptionBlock]:
    """Returns the schema of a block for a model: the keys of every run, of the model, and of its bases."""
    kinds = [kind for kind in model.__mro__ if kind is not object]
    bases: list[type[OptionBlock]] = []
    for own in filter(None, (own_block(kind, block) for kind in kinds)):
        if not any(issubclass(base, own) for base in bases):
            bases.append(own)
    bases.append(BLOCKS[block])
    if any(_package(kind) not in (*STOCK_PACKAGES, 'refstar') and 'Options' not in vars(kind) for kind in kinds):
        bases.append(_Open)
    extra: dict[str, Any] = {}
    if block == 'path':
        for name in (key for key in block_of(model).model_fields if key.startswith('network_')):
            short = name.removeprefix('network_')
            texts = (f'pretrain_{name}', f'param_key_{short}')
            extra |= dict.fromkeys(texts, (str | None, None)) | {f'strict_load_{short}': (bool | None, None)}
        extra = {name: kind for name, kind in extra.items() if not any(name in base.model_fields for base in bases)}
    return create_model(block or 'run', __base__=tuple(bases), **extra)


@cache
def dataset_block(target: type) -> type[OptionBlock]:
    """Returns the schema of a dataset's block."""
    declared = getattr(target, 'Options', None)
    if declared is not None:
        return declared
    for kind in target.__mro__:
        if _package(kind) in STOCK_PACKAGES and kind.__name__ in STOCK_DATASETS:
            keys = _keys((key, Any) for key in STOCK_DATASETS[kind.__name__].split())
            return create_model(kind.__name__, __base__=DatasetOptions, **keys)
    return create_model(target.__name__, __base__=(DatasetOptions, _Open))


def parameters(target: Any) -> set[str] | None:
    """Returns the names that a class or function takes by keyword; None for a class with `**kwargs` in all its bases.

    The `**kwargs` of a function do not count: BasicSR's metrics ignore what they get by them.
    """
    kinds = inspect.Parameter
    names: set[str] = set()
    functions = [vars(kind).get('__init__') for kind in target.__mro__] if inspect.isclass(target) else [target]
    for function in filter(None, functions):
        taken = inspect.signature(function).parameters.values()
        names |= {p.name for p in taken if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
        if not inspect.isclass(target) or not any(p.kind is kinds.VAR_KEYWORD for p in taken):
            return names - {'self'}
    return None


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


def check_call(block: dict, target: Any, where: str, extra: Iterable[str] = ('type',)) -> None:
    """Checks a block whose keys are the parameters of a class or function.

    A class attribute `option_blocks` maps a parameter to the class, or name of a registered network, whose parameters
    the block under that key has.
    """
    known = parameters(target)
    for key in block if known is not None else ():
        if key not in known and key not in extra:
            raise RefStarError(f'unknown key {key!r} ({where}:{key}){nearest(key, known)}')
    for key, inner in getattr(target, 'option_blocks', {}).items():
        if isinstance(block.get(key), dict):
            if isinstance(inner, str):
                from basicsr.utils.registry import ARCH_REGISTRY

                inner = find(ARCH_REGISTRY, inner, f'{where}:{key}', 'network')
            check_call(block[key], inner, f'{where}:{key}')


def _check_network(block: Any, where: str) -> None:
    from basicsr.utils.registry import ARCH_REGISTRY

    name = Network.read(block, where).type
    check_call(block, find(ARCH_REGISTRY, name, f'{where}:type', 'network'), where)
    for key, inner in block.items():
        if isinstance(inner, dict) and 'type' in inner:
            _check_network(inner, f'{where}:{key}')


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


def _check_dataset(phase: str, block: Any, is_train: bool) -> None:
    from basicsr.utils.registry import DATASET_REGISTRY

    where = f'datasets:{phase}'
    if str(phase).split('_')[0] not in ('train', 'val', 'test'):
        raise RefStarError(f'unknown phase {phase!r} ({where}){nearest(phase, ["train", "val", "test"])}')
    _require(block, 'name type', f'{where}:')
    dataset_block(find(DATASET_REGISTRY, block['type'], f'{where}:type', 'dataset')).read(block, where)
    if phase == 'train' and is_train:
        _require(block, 'batch_size_per_gpu num_worker_per_gpu', f'{where}:')
    for key, value in block.items():
        if key.startswith('dataroot'):
            _check_existing(value, f'{where}:{key}')


def _check_train(model: type, block: dict) -> None:
    import torch
    from basicsr.models import lr_scheduler
    from basicsr.utils.registry import LOSS_REGISTRY

    block_of(model, 'train').read(block, 'train')
    for key, inner in block.items():
        where = f'train:{key}'
        if not isinstance(inner, dict):
            continue
        if key == 'scheduler':
            name = find(SCHEDULERS, inner['type'], f'{where}:type', 'scheduler')
            check_call(inner, getattr(lr_scheduler, name), where)
        elif key.startswith('optim_'):
            known = {name: kind for name, kind in vars(torch.optim).items() if inspect.isclass(kind)}
            check_call(inner, find(known, Optimizer.read(inner, where).type, f'{where}:type', 'optimizer'), where)
        elif key.endswith('_opt') or 'type' in inner:
            check_call(inner, find(LOSS_REGISTRY, Loss.read(inner, where).type, f'{where}:type', 'loss'), where)


def _check_val(model: type, block: dict) -> None:
    from basicsr.utils.registry import METRIC_REGISTRY

    block_of(model, 'val').read(block, 'val')
    for name, inner in (block.get('metrics') or {}).items():
        where = f'val:metrics:{name}'
        target = find(METRIC_REGISTRY, Metric.read(inner, where).type, f'{where}:type', 'metric')
        check_call(inner, target, where, ('type', 'better'))


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
    from basicsr.utils.registry import MODEL_REGISTRY

    _require(opt, 'name model_type datasets')
    model = find(MODEL_REGISTRY, opt['model_type'], 'model_type', 'model')
    block_of(model).read(opt)
    for key, block in opt.items():
        if key.startswith('network_') and block is not None:
            _check_network(block, key)
    for phase, block in opt['datasets'].items():
        _check_dataset(phase, block, is_train)
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
    best = block_of(model, 'logger').read(opt['logger'], 'logger').keep_best
    if opt.get('val') is not None:
        _require(opt['val'], 'val_freq save_img', 'val:')
    metrics = (opt.get('val') or {}).get('metrics') or {}
    if best and best not in metrics:
        raise RefStarError(f'logger:keep_best: {best!r} is not in val:metrics{nearest(best, metrics)}')
