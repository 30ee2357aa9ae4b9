"""What is mended in BasicSR 1.4.2 and GFPGAN 1.3.8, by functions that each say what breaks.

Functions that replace a method or function of BasicSR have its name and its signature.
"""

import os
from collections.abc import Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr import test as test_module
from basicsr import train as train_module
from basicsr.data import degradations
from basicsr.models.base_model import BaseModel
from basicsr.utils import dist_util, get_root_logger, options
from basicsr.utils.dist_util import master_only
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from .. import native_ops
from ..checkpoint import require_fit, save_atomically, state_dict_of
from ..errors import RefStarError, nearest
from . import resume
from .option_file import OptionLoader, parse_options


def add_jpg_compression(img: np.ndarray, quality: float = 90) -> np.ndarray:
    """OpenCV >= 4.5.4 refuses a float as JPEG quality and warns about float images.

    Args:
        img: shape (h, w, c), BGR, [0, 1], float32.
        quality: 0 (worst) to 100.

    Returns:
        The image after compression, in the same form.
    """
    image = (np.clip(img, 0, 1) * 255).round().astype(np.uint8)
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR).astype(np.float32) / 255


def init_dist(launcher: str, backend: str = 'nccl', port: int | None = None, **kwargs: Any) -> None:
    """Divides by the number of GPUs (0 on a CPU machine), and nccl needs CUDA: gloo takes its place there.

    Args:
        launcher: 'pytorch' (environment of torchrun) or 'slurm' (its environment is translated).
        backend, port, kwargs: `dist_params` of the option file.
    """
    if torch.multiprocessing.get_start_method(allow_none=True) is None:
        torch.multiprocessing.set_start_method('spawn')
    env = os.environ
    if launcher == 'slurm':
        import subprocess

        hosts = ['scontrol', 'show', 'hostname', env['SLURM_NODELIST']]
        env['MASTER_ADDR'] = subprocess.run(hosts, check=True, capture_output=True, text=True).stdout.split()[0]
        env['MASTER_PORT'] = str(port or env.get('MASTER_PORT', 29500))
        env['RANK'], env['WORLD_SIZE'] = env['SLURM_PROCID'], env['SLURM_NTASKS']
        env['LOCAL_RANK'] = env['SLURM_LOCALID']
    elif 'RANK' not in env:
        raise RefStarError(
            '--launcher pytorch: start with torchrun, e.g. torchrun --nproc_per_node 2 -m refstar.tools.train'
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(env.get('LOCAL_RANK', env['RANK'])) % torch.cuda.device_count())
    else:
        backend = 'gloo'
    torch.distributed.init_process_group(backend=backend, **kwargs)


def ordered_yaml() -> tuple[type, type]:
    """`yaml.CLoader` builds arbitrary Python objects from an option file."""
    return OptionLoader, _original_ordered_yaml()[1]


_original_ordered_yaml = options.ordered_yaml


def get_optimizer(
    self: BaseModel, optim_type: str, params: Iterable, lr: float, **kwargs: Any
) -> torch.optim.Optimizer:
    """Knows Adam only, and current torch refuses GFPGAN's betas `(0, 0.99)`, which mix int and float."""
    kind = getattr(torch.optim, optim_type, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise RefStarError(f'unknown optimizer {optim_type!r}{nearest(optim_type, dir(torch.optim))}')
    if 'betas' in kwargs:
        kwargs['betas'] = tuple(map(float, kwargs['betas']))
    return kind(params, lr=lr, **kwargs)


def model_to_device(self: BaseModel, net: nn.Module) -> nn.Module:
    """Asks for the current CUDA device in every distributed run."""
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
    """Overwrites in place (a kill leaves half a file) and ignores a failed write."""
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


@master_only
def save_training_state(self: BaseModel, epoch: int, current_iter: int) -> None:
    """As `save_network`; and the random states are not saved, so a resumed run went another way."""
    if current_iter == -1:
        return
    state = {
        'epoch': epoch,
        'iter': current_iter,
        'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        'random_states': resume.random_states(),
    }
    save_atomically(state, Path(self.opt['path']['training_states']) / f'{current_iter}.state')


def load_network(
    self: BaseModel, net: nn.Module, load_path: str, strict: bool = True, param_key: str = 'params'
) -> None:
    """Ends in a page of keys and a traceback when the file belongs to another network."""
    net = self.get_bare_model(net)
    state = state_dict_of(load_path, param_key)
    get_root_logger().info(f'Loading {type(net).__name__} from {load_path}, with param key: [{param_key}].')
    if strict is not False:  # GFPGAN's option files write `strict_load_g: ~` for the default
        require_fit(net, state, load_path)
    else:
        self._print_different_keys_loading(net, state, strict=False)
    net.load_state_dict(state, strict=strict is not False)


def validation(
    self: BaseModel, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False
) -> None:
    """Draws from the random states of the training, so training depended on when it was validated."""
    states = resume.random_states()
    _original_validation(self, dataloader, current_iter, tb_logger, save_img)
    resume.set_random_states(states)


_original_validation = BaseModel.validation


def _planned_epochs(create_train_val_dataloader: Any) -> Any:
    @wraps(create_train_val_dataloader)
    def create(*args: Any, **kwargs: Any) -> tuple:
        return resume.plan_epochs(create_train_val_dataloader(*args, **kwargs))

    return create


def _allow_numpy_scalars() -> None:
    """GFPGAN reads FFHQ's landmark file, which holds numpy scalars, by `torch.load`; torch >= 2.6 refuses them."""
    scalar = np._core.multiarray.scalar
    reconstruct = np._core.multiarray._reconstruct
    torch.serialization.add_safe_globals(
        [
            np.dtype,
            np.ndarray,
            *(type(np.dtype(kind)) for kind in ('float32', 'float64', 'int32', 'int64', 'uint8')),
            scalar,
            (scalar, 'numpy.core.multiarray.scalar'),
            reconstruct,
            (reconstruct, 'numpy.core.multiarray._reconstruct'),
        ]
    )


def apply() -> None:
    """Applies every fix to the imported basicsr."""
    native_ops.install()
    _allow_numpy_scalars()
    degradations.add_jpg_compression = add_jpg_compression
    dist_util.init_dist = options.init_dist = init_dist
    options.ordered_yaml = ordered_yaml
    for module in (options, train_module, test_module):
        module.parse_options = parse_options
    for method in (
        get_optimizer,
        model_to_device,
        save_network,
        save_training_state,
        load_network,
        validation,
    ):
        setattr(BaseModel, method.__name__, method)
    train_module.EnlargedSampler = resume.ResumableSampler
    train_module.load_resume_state = resume.load_resume_state
    train_module.create_train_val_dataloader = _planned_epochs(train_module.create_train_val_dataloader)
