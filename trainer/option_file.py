"""Option files and command lines of BasicSR, read without `eval`, `exec` or arbitrary YAML objects."""

import argparse
import os
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

from refstar.utils.errors import CommandParser, RefStarError, nearest
from refstar.utils.yaml_files import read_yaml, read_yaml_file


def argument_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Returns the parser of BasicSR's command line."""
    parser = CommandParser(prog=prog)
    parser.add_argument('-opt', required=True, metavar='X.yml', help='option file')
    parser.add_argument(
        '--import',
        dest='modules',
        nargs='+',
        default=[],
        metavar='MODULE',
        help='import your own modules first (this folder is searched): archs, losses, models that register themselves',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher')
    parser.add_argument('--auto_resume', action='store_true', help='go on with the latest state of this experiment')
    parser.add_argument('--debug', action='store_true', help='log every iteration; save and validate every 8')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by launchers; not used')
    parser.add_argument(
        '--force_yml',
        nargs='+',
        metavar='a:b=value',
        help='set options in place of the file, e.g. train:ema_decay=0.999 datasets:train:batch_size_per_gpu=8',
    )
    return parser


def parse_value(text: str) -> Any:
    """Reads one value of `--force_yml` by YAML's rules; also BasicSR's `none` and `!!float1e-4`."""
    if text.lower() == 'none':
        return None
    if text.startswith('!!float'):
        return float(text.removeprefix('!!float'))
    return read_yaml(text)


def _force(opt: dict, entry: str) -> None:
    """Sets one `a:b=value` in the options; every block on the way must exist."""
    path, equals, text = entry.partition('=')
    *blocks, last = path.strip().split(':')
    if not equals or not last:
        raise RefStarError(f'--force_yml {entry}: expected a:b=value')
    where = opt
    for key in blocks:
        if not isinstance(where, dict) or not isinstance(where.get(key), dict):
            hint = nearest(key, where if isinstance(where, dict) else ())
            raise RefStarError(f'--force_yml {entry}: the option file has no block {key!r}{hint}')
        where = where[key]
    try:
        where[last] = parse_value(text.strip())
    except ValueError as error:
        raise RefStarError(f'--force_yml {entry}: {error}') from error


def load_options(path: str | os.PathLike, force: list[str] | None = None) -> dict[str, Any]:
    """Reads an option file.

    Returns:
        The options as nested dicts in the order of the file.

    Raises:
        RefStarError: no such file, no valid YAML, or an entry of `force` that does not fit.
    """
    opt = read_yaml_file(path)
    for entry in force or []:
        _force(opt, entry)
    return opt


def _device_count(num_gpu: int | str) -> int:
    import torch

    available = torch.cuda.device_count()
    if num_gpu != 'auto' and num_gpu > 0 and available == 0:
        print(f'num_gpu: {num_gpu} is asked for, but there is no CUDA device: running on the CPU.', flush=True)
    return available if num_gpu == 'auto' or available == 0 else num_gpu


def _common_seed(dist: bool) -> int:
    """A random seed, the same in every process."""
    seed = [random.randint(1, 10000)]
    if dist:
        from torch import distributed

        distributed.broadcast_object_list(seed)
    return seed[0]


def _set_folders(opt: dict, root_path: str) -> None:
    root = Path(root_path)
    if opt['is_train']:
        run = root / 'experiments' / opt['name']
        opt['path'].update(
            experiments_root=str(run),
            models=str(run / 'models'),
            training_states=str(run / 'training_states'),
            log=str(run),
            visualization=str(run / 'visualization'),
        )
    else:
        run = root / 'results' / opt['name']
        opt['path'].update(results_root=str(run), log=str(run), visualization=str(run / 'visualization'))


def parse_options(root_path: str, is_train: bool = True) -> tuple[OrderedDict, argparse.Namespace]:
    """Replaces BasicSR's function of this name: the same command line, the same resulting options.

    Different on purpose: the values of `--force_yml` are literals and are set before anything reads the options
    (`manual_seed`, `dist_params`); `dist_params` count for every launcher; a `val` block may leave `suffix` out;
    `num_gpu` falls to 0, with a notice, where there is no CUDA device.
    """
    from basicsr.utils import set_random_seed
    from basicsr.utils.dist_util import get_dist_info, init_dist

    args = argument_parser().parse_args()
    opt = load_options(args.opt, args.force_yml)

    opt['dist'] = args.launcher != 'none'
    if opt['dist']:
        init_dist(args.launcher, **(opt.get('dist_params') or {}))
    else:
        print('Disable distributed.', flush=True)
    opt['rank'], opt['world_size'] = get_dist_info()
    if opt.get('manual_seed') is None:
        opt['manual_seed'] = _common_seed(opt['dist'])
    set_random_seed(opt['manual_seed'] + opt['rank'])

    opt['auto_resume'], opt['is_train'] = args.auto_resume, is_train
    opt['num_gpu'] = _device_count(opt.get('num_gpu', 'auto'))
    if args.debug and not opt['name'].startswith('debug'):
        opt['name'] = f'debug_{opt["name"]}'

    for phase, dataset in opt['datasets'].items():
        dataset['phase'] = phase.split('_')[0]
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        for key, value in dataset.items():
            if key.startswith('dataroot') and isinstance(value, str):
                dataset[key] = os.path.expanduser(value)

    opt['path'] = opt.get('path') or OrderedDict()
    for key, value in opt['path'].items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain_network' in key):
            opt['path'][key] = os.path.expanduser(value)
    _set_folders(opt, root_path)

    if opt.get('val') is not None:
        opt['val'].setdefault('suffix', None)
    if is_train and 'debug' in opt['name']:
        if opt.get('val') is not None:
            opt['val']['val_freq'] = 8
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
    return opt, args
