"""What is mended in BasicSR 1.4.2 and GFPGAN 1.3.8, by functions that each say what breaks.

Functions that replace a method or function of BasicSR have its name and its signature.
"""

import copy
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import cv2
import numpy as np
import torch
from basicsr import models
from basicsr import test as test_module
from basicsr import train as train_module
from basicsr.data import degradations
from basicsr.models.base_model import BaseModel
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.models.sr_model import SRModel
from basicsr.utils import dist_util, options

from refstar.utils.errors import RefStarError
from refstar.utils.yaml_files import OptionLoader

from . import base_model, native_ops, progress, resume, run_guard, speed, validation
from .distributed import place_in_slurm
from .option_file import parse_options
from .safe_load import refusing
from .seeding import seeded
from .step import take_over


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
        env.update(place_in_slurm(env, port))
    elif 'RANK' not in env:
        raise RefStarError(
            '--launcher pytorch: start with torchrun, e.g. torchrun --nproc_per_node 2 -m refstar.tools.train'
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(env.get('LOCAL_RANK', env['RANK'])) % torch.cuda.device_count())
    else:
        backend = 'gloo'
    torch.distributed.init_process_group(backend=backend, **kwargs)


def where_the_model_is(method: Callable[..., Any]) -> Callable[..., Any]:
    """Real-ESRGAN's models call `.cuda()` in this method; on the CPU that leaves things where they are."""

    @wraps(method)
    def run(self: BaseModel, *args: Any) -> Any:
        opt = self.opt if hasattr(self, 'opt') else args[0]
        if opt['num_gpu'] != 0:
            return method(self, *args)
        kinds = (torch.Tensor, torch.nn.Module)
        originals = [kind.cuda for kind in kinds]
        for kind in kinds:
            kind.cuda = lambda thing: thing
        try:
            return method(self, *args)
        finally:
            for kind, original in zip(kinds, originals, strict=True):
                kind.cuda = original

    return run


def fix_components(dataset: type) -> None:
    """GFPGAN's data set mirrors its list of eyes and mouths along with a photo, and leaves it so."""
    original = dataset.get_component_coordinates

    def get_component_coordinates(self: Any, index: int, status: list[bool]) -> list[torch.Tensor]:
        kept, name = self.components_list, f'{index:08d}'
        self.components_list = {name: copy.deepcopy(kept[name])}
        try:
            return original(self, index, status)
        finally:
            self.components_list = kept

    dataset.get_component_coordinates = get_component_coordinates


def fix_realesrgan(*kinds: type[BaseModel]) -> None:
    """See :func:`where_the_model_is`."""
    for kind in kinds:
        for name in ('__init__', '_dequeue_and_enqueue'):
            setattr(kind, name, where_the_model_is(vars(kind)[name]))


def ordered_yaml() -> tuple[type, type]:
    """`yaml.CLoader` builds arbitrary Python objects from an option file."""
    return OptionLoader, _original_ordered_yaml()[1]


_original_ordered_yaml = options.ordered_yaml


def build_model(opt: dict[str, Any]) -> BaseModel:
    """Builds a model whose training step is BasicSR's own, with none of the switches of :mod:`switches`."""
    model = _original_build_model(opt)
    if model.is_train:
        speed.apply(model)
        take_over(model)
        progress.watch(model)
    return model


_original_build_model = models.build_model


def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple:
    """See :func:`~resume.plan_epochs` and :mod:`seeding`."""
    train_module.build_dataloader = seeded(_original_build_dataloader, opt['train'].get('accumulate') or 1)
    return resume.plan_epochs(_original_create_train_val_dataloader(opt, logger), opt['manual_seed'])


_original_build_dataloader = train_module.build_dataloader
_original_create_train_val_dataloader = train_module.create_train_val_dataloader


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
    for method in base_model.METHODS:
        setattr(BaseModel, method.__name__, method)
    validation.take_part(SRModel)
    fix_realesrgan(RealESRGANModel, RealESRNetModel)
    for module in (models, train_module):
        module.build_model = build_model
    train_module.MessageLogger = progress.MessageLogger
    for prefetcher in ('CPUPrefetcher', 'CUDAPrefetcher'):
        setattr(train_module, prefetcher, progress.timed_prefetcher(getattr(train_module, prefetcher)))
    train_module.EnlargedSampler = resume.ResumableSampler
    train_module.load_resume_state = resume.load_resume_state
    train_module.create_train_val_dataloader = create_train_val_dataloader
    train_module.train_pipeline = run_guard.guarded(train_module.train_pipeline)
    test_module.test_pipeline = refusing(test_module.test_pipeline)
