"""Which checkpoints are kept: the latest few, and those of the best validation."""

import re
from pathlib import Path
from typing import Any

from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger

from refstar.utils.checkpoint import load_file, save_atomically

from .resume import saved_states

BEST = 'best'  # label of the files, in place of the iteration


def prune(opt: dict[str, Any], current_iter: int) -> None:
    """Deletes older checkpoints, by `logger.keep_last`; called once the new one is on disk.

    A state is deleted before its networks, so a crash leaves no state that cannot be resumed from.

    Args:
        opt: options of the run.
        current_iter: iteration of the new checkpoint; whatever is of a later one (of an earlier run) stays.
    """
    count = opt['logger'].get('keep_last')
    states = {number: file for number, file in saved_states(opt).items() if number <= current_iter}
    if not count or len(states) < count:
        return
    first = sorted(states)[-count]
    for number in sorted(states):
        if number < first:
            states[number].unlink()
    for file in sorted(Path(opt['path']['models']).glob('net_*.pth')):
        number = re.search(r'_(\d+)\.pth$', file.name)
        if number and int(number[1]) < first:
            file.unlink()


def keep_best(model: BaseModel, dataloader: Any, current_iter: int) -> None:
    """Saves the networks as `net_*_best.pth` if this validation is the best so far by `logger.keep_best`.

    Args:
        model: has just validated.
        dataloader: of the validation set; only the first set of the option file decides.
        current_iter: iteration of the validation.
    """
    metric = model.opt['logger'].get('keep_best')
    if not metric or model.opt['rank'] != 0:
        return
    dataset = dataloader.dataset.opt['name']
    if dataset != next(block['name'] for phase, block in model.opt['datasets'].items() if phase.startswith('val')):
        return
    results = model.best_metric_results[dataset]
    name = metric if metric in results else f'right_{metric}'  # models with references: of the right ones
    best, record = results[name], Path(model.opt['path']['training_states']) / f'{BEST}.state'
    if best['iter'] != current_iter or not _better(best, metric, record):
        return
    model.save(-1, BEST)
    save_atomically({'metric': metric, 'value': float(best['val']), 'iter': current_iter}, record)
    get_root_logger().info(f'Best {metric} so far, {best["val"]:.4f}: the networks are kept as net_*_{BEST}.pth.')


def _better(best: dict[str, Any], metric: str, record: Path) -> bool:
    """Whether a figure is better than that of the networks on disk, which a resumed run need not know of."""
    kept = load_file(record) if record.is_file() else {}
    if kept.get('metric') != metric:
        return True
    return best['val'] >= kept['value'] if best['better'] == 'higher' else best['val'] <= kept['value']
