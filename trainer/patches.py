"""Patches of BasicSR 1.4.2 and GFPGAN 1.3.8, applied when this module is imported (:mod:`import_hook`).

Each names the line that it patches and says what is wrong there. A function in place of one of BasicSR has its name and
signature. No module of this project that imports BasicSR is imported here: it could still be half imported.
"""

import copy
import os
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from basicsr import models
from basicsr import test as test_module
from basicsr import train as train_module
from basicsr.data import degradations
from basicsr.models import realesrgan_model, realesrnet_model
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from basicsr.utils import dist_util, img_process_util, options
from basicsr.utils.registry import Registry

from refstar.utils.errors import RefStarError
from refstar.utils.yaml_files import OptionLoader

from . import import_hook

# Methods of :mod:`base_model`.
BASE_MODEL = (
    'get_optimizer',
    'model_to_device',
    'save_network',
    'save_training_state',
    'resume_training',
    'load_network',
    'model_ema',
    'reduce_loss_dict',
    'get_current_log',
    'validation',
)


def _ours(module: str, name: str) -> Callable[..., Any]:
    """Returns a function that calls one of this project, imported at the first call."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(f'refstar.trainer.{module}'), name)(*args, **kwargs)

    call.__name__, call.__module__ = name, f'refstar.trainer.{module}'
    return call


# --------------------------------------------------------------------- registries, options, pipelines
def _patch_registries() -> None:
    """basicsr/utils/registry.py:62-80: finds no plugins. The first look-up imports those of this project."""
    for name in ('get', '__contains__', '__iter__', 'keys'):
        setattr(Registry, name, _after_registration(vars(Registry)[name]))


def _after_registration(look_up: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(look_up)
    def run(self: Registry, *args: Any, **kwargs: Any) -> Any:
        import_hook.register_all()
        return look_up(self, *args, **kwargs)

    return run


def _patch_options() -> None:
    """basicsr/utils/options.py:10, 82, 95: the loader builds any Python object; `--force_yml` runs `exec`, `eval`."""
    representer = options.ordered_yaml()[1]
    options.ordered_yaml = lambda: (OptionLoader, representer)
    for module in (options, train_module, test_module):
        module.parse_options = _ours('option_file', 'parse_options')


def _patch_pipelines() -> None:
    """basicsr/train.py:82, test.py:11: make folders before they know whether the options fit; see :mod:`loop`."""
    train_module.train_pipeline = _ours('loop', 'train_pipeline')
    test_module.test_pipeline = _ours('loop', 'test_pipeline')
    build_model = models.build_model

    @wraps(build_model)
    def built(opt: dict[str, Any]) -> BaseModel:
        """models/__init__.py:18: a model whose training step is BasicSR's own, without the options of this project."""
        model = build_model(opt)
        if model.is_train:
            import_module('refstar.trainer.training_step').take_over(model)
        return model

    models.build_model = train_module.build_model = test_module.build_model = built


_init_dist = dist_util.init_dist  # Slurm stays BasicSR's


def init_dist(launcher: str, backend: str = 'nccl', port: int | None = None, **kwargs: Any) -> None:
    """dist_util.py:11: divides by the number of GPUs (0 on a CPU machine), and nccl needs CUDA; then gloo is taken."""
    env = os.environ
    if launcher == 'slurm':
        if 'SLURM_PROCID' not in env or not torch.cuda.is_available():
            raise RefStarError('--launcher slurm: needs GPUs, and srun: srun basicsr train -opt X.yml --launcher slurm')
        _init_dist(launcher, backend, port=port)
        return
    if torch.multiprocessing.get_start_method(allow_none=True) is None:
        torch.multiprocessing.set_start_method('spawn')
    if 'RANK' not in env:
        raise RefStarError(
            '--launcher pytorch: start with torchrun, e.g. torchrun --nproc_per_node 2 -m refstar.tools.train'
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(env.get('LOCAL_RANK', env['RANK'])) % torch.cuda.device_count())
    else:
        backend = 'gloo'
    torch.distributed.init_process_group(backend=backend, **kwargs)


# --------------------------------------------------------------------- data
def add_jpg_compression(img: np.ndarray, quality: float = 90) -> np.ndarray:
    """degradations.py:645: OpenCV >= 4.5.4 refuses a float as JPEG quality and warns about float images.

    `img` is (h, w, c) float32 in [0, 1], as is what is returned.
    """
    image = (np.clip(img, 0, 1) * 255).round().astype(np.uint8)
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR).astype(np.float32) / 255


def _allow_numpy_scalars() -> None:
    """gfpgan/data/ffhq_degradation_dataset.py:53 reads numpy scalars by `torch.load`, which torch >= 2.6 refuses."""
    made_by = [np._core.multiarray.scalar, np._core.multiarray._reconstruct]
    older = [(function, f'numpy.core.multiarray.{function.__name__}') for function in made_by]
    kinds = [type(np.dtype(kind)) for kind in ('float32', 'float64', 'int32', 'int64', 'uint8')]
    torch.serialization.add_safe_globals([np.dtype, np.ndarray, *kinds, *made_by, *older])


# --------------------------------------------------------------------- models
def _patch_filter() -> None:
    """utils/img_process_util.py:25, 29: views photos whose layout current torch keeps as BasicSR's JPEG makes it."""
    original = img_process_util.filter2D

    @wraps(original)
    def filter2D(img: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return original(img.contiguous(), kernel)

    for module in (img_process_util, realesrgan_model, realesrnet_model):
        module.filter2D = filter2D


def patch_realesrgan(module: ModuleType, model_class: type[BaseModel]) -> None:
    """realesrgan_model.py:27, 43, realesrnet_model.py:26, 42: `.cuda()` also on the CPU."""

    def stays(kind: type) -> type:
        return type(kind.__name__, (kind,), {'cuda': lambda self: self})

    module.DiffJPEG, module.USMSharp = stays(module.DiffJPEG), stays(module.USMSharp)
    original_init, enqueue = model_class.__init__, model_class._dequeue_and_enqueue

    @wraps(original_init)
    def init(self: BaseModel, opt: dict[str, Any]) -> None:
        original_init(self, opt)
        self.jpeger.to(self.device)
        self.usm_sharpener.to(self.device)

    @wraps(enqueue)
    def _dequeue_and_enqueue(self: BaseModel) -> None:
        if not hasattr(self, 'queue_lr'):
            self.queue_lr = self.lq.new_zeros(self.queue_size, *self.lq.shape[1:])
            self.queue_gt = self.gt.new_zeros(self.queue_size, *self.gt.shape[1:])
            self.queue_ptr = 0
        enqueue(self)

    model_class.__init__, model_class._dequeue_and_enqueue = init, _dequeue_and_enqueue


def patch_gfpgan() -> None:
    """ffhq_degradation_dataset.py:74: mirrors its list of eyes and mouths along with a photo, and leaves it so."""
    from gfpgan.data.ffhq_degradation_dataset import FFHQDegradationDataset
    from gfpgan.models.gfpgan_model import GFPGANModel

    original = FFHQDegradationDataset.get_component_coordinates

    @wraps(original)
    def get_component_coordinates(self: Any, index: int, status: list[bool]) -> list[torch.Tensor]:
        kept, name = self.components_list, f'{index:08d}'
        self.components_list = {name: copy.deepcopy(kept[name])}
        try:
            return original(self, index, status)
        finally:
            self.components_list = kept

    FFHQDegradationDataset.get_component_coordinates = get_component_coordinates
    GFPGANModel.dist_validation = _ours('validation', 'dist_validation')


# --------------------------------------------------------------------- operators of StyleGAN2 without a compiler
def _patch_operators() -> None:
    """ops/fused_act/fused_act.py:89, ops/upfirdn2d/upfirdn2d.py:150: need compiled CUDA code; plain torch allows R1."""
    # By name: a function of each package hides the module of the same name.
    fused = import_module('basicsr.ops.fused_act.fused_act')
    upfirdn = import_module('basicsr.ops.upfirdn2d.upfirdn2d')
    compiled_act, compiled_fir = fused.FusedLeakyReLUFunction, upfirdn.UpFirDn2d

    class FusedLeakyReLUFunction:
        @staticmethod
        def apply(x: torch.Tensor, bias: torch.Tensor, negative_slope: float, scale: float) -> torch.Tensor:
            if x.is_cuda and hasattr(fused, 'fused_act_ext'):
                return compiled_act.apply(x, bias, negative_slope, scale)
            return F.leaky_relu(x + bias.view(1, -1, *[1] * (x.ndim - 2)), negative_slope) * scale

    class UpFirDn2d:
        @staticmethod
        def apply(x: torch.Tensor, kernel: torch.Tensor, up: tuple, down: tuple, pad: tuple) -> torch.Tensor:
            if x.is_cuda and hasattr(upfirdn, 'upfirdn2d_ext'):
                return compiled_fir.apply(x, kernel, up, down, pad)
            return upfirdn.upfirdn2d_native(x, kernel, *up, *down, *pad)

    fused.FusedLeakyReLUFunction, upfirdn.UpFirDn2d = FusedLeakyReLUFunction, UpFirDn2d


def apply() -> None:
    """Applies every patch of basicsr."""
    _patch_registries()
    _patch_options()
    _patch_pipelines()
    dist_util.init_dist = options.init_dist = init_dist
    degradations.add_jpg_compression = add_jpg_compression
    _allow_numpy_scalars()
    for name in BASE_MODEL:
        setattr(BaseModel, name, _ours('base_model', name))
    SRModel.dist_validation = _ours('validation', 'dist_validation')
    _patch_filter()
    patch_realesrgan(realesrgan_model, realesrgan_model.RealESRGANModel)
    patch_realesrgan(realesrnet_model, realesrnet_model.RealESRNetModel)
    _patch_operators()


apply()
