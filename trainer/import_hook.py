"""Import hook: makes BasicSR usable on current libraries and registers this project with it.

BasicSR 1.4.2 (2022) does not import beside a current torchvision, and it has no discovery of plugins. Nothing may be
imported to mend that before it is needed (torch alone costs seconds), and site-packages is not ours to edit. So one
finder on `sys.meta_path` looks at the few imports that matter:

* `torchvision.transforms.functional_tensor`, gone since torchvision 0.17, is provided;
* after `basicsr` was imported, `basicsr_fixes.apply()` mends it, then gfpgan and all of this project's
  `*_arch.py, *_dataset.py, *_loss.py, *_metric.py, *_model.py` are imported, which fills the registries;
* after a module of AFTER_IMPORT was imported, its own fix is applied.

A module of this project that imports basicsr itself (all registered ones do) is still being executed when basicsr is
complete. Registration then waits until the outermost such module is done, so no module is ever seen half imported.
"""

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'

# Package -> suffix of the files in it that register something.
SCANNED = {
    'refstar': 'arch',
    'refstar.data': 'dataset',
    'refstar.losses': 'loss',
    'refstar.metrics': 'metric',
    'refstar.models': 'model',
}


def _fix_basicsr(module: ModuleType) -> None:
    from . import basicsr_fixes

    basicsr_fixes.apply()


class _NumpyWithFloat:
    """The numpy module with the alias `float`, which numpy 1.24 removed."""

    float = float

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module('numpy'), name)


def _fix_gfpgan_model(module: ModuleType) -> None:
    from .validation import take_part

    take_part(module.GFPGANModel)


def _fix_gfpgan_dataset(module: ModuleType) -> None:
    from .basicsr_fixes import fix_components

    fix_components(module.FFHQDegradationDataset)


def _fix_awing(module: ModuleType) -> None:
    module.np = _NumpyWithFloat()  # facexlib's landmark code uses np.float


AFTER_IMPORT: dict[str, Callable[[ModuleType], None]] = {
    'basicsr': _fix_basicsr,
    'facexlib.alignment.awing_arch': _fix_awing,
    'gfpgan.data.ffhq_degradation_dataset': _fix_gfpgan_dataset,
    'gfpgan.models.gfpgan_model': _fix_gfpgan_model,
}


class _FunctionalTensorLoader:
    """Loader of the module that torchvision no longer has; basicsr takes one function from it."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.rgb_to_grayscale = import_module('torchvision.transforms.functional').rgb_to_grayscale


class _Hook(MetaPathFinder):
    """Finds modules through the other finders and adds what has to happen after their execution."""

    def __init__(self) -> None:
        self.state = threading.local()  # .depth: modules of ours that are being executed in this thread
        self.fixed: set[str] = set()
        self.registered = False

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        ours = name.startswith('refstar.') or name == 'gfpgan'
        if not (ours or name in AFTER_IMPORT or name == FUNCTIONAL_TENSOR):
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, 'find_spec'))
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if name == FUNCTIONAL_TENSOR:
            return spec or spec_from_loader(name, _FunctionalTensorLoader())
        if spec is not None and spec.loader is not None:
            self._wrap(spec, ours)
        return spec

    def _wrap(self, spec: ModuleSpec, ours: bool) -> None:
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            depth = getattr(self.state, 'depth', 0)
            self.state.depth = depth + ours
            try:
                execute(module)
            finally:
                self.state.depth = depth
            self.fix(module)
            self.register_all()

        spec.loader.exec_module = exec_module

    def fix(self, module: ModuleType) -> None:
        """Applies the fix of a module that has just been imported."""
        name = module.__name__
        if name in AFTER_IMPORT and name not in self.fixed:
            AFTER_IMPORT[name](module)
            self.fixed.add(name)

    def register_all(self) -> None:
        """Imports everything that registers itself, once, when basicsr is there and no module of ours is half done."""
        if self.registered or 'basicsr' not in self.fixed or getattr(self.state, 'depth', 0):
            return
        self.registered = True  # before the imports below, which come back here
        try:
            import_module('gfpgan')
            for package, suffix in SCANNED.items():
                for file in sorted(Path(import_module(package).__file__).parent.glob(f'*_{suffix}.py')):
                    import_module(f'{package}.{file.stem}')
        except BaseException:
            self.registered = False
            raise


_HOOK = _Hook()


def install() -> None:
    """Puts the hook in place; what was imported earlier is fixed and registered at once."""
    if _HOOK in sys.meta_path:
        return
    sys.meta_path.insert(0, _HOOK)
    for name in AFTER_IMPORT:
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, '_initializing', False):
            _HOOK.fix(module)
    _HOOK.register_all()


def registered(name: str) -> Any | None:
    """Returns this project's registered class or function of that name, or None. Imports basicsr."""
    import_module('basicsr')
    registry = import_module('basicsr.utils.registry')
    for table in (
        registry.ARCH_REGISTRY,
        registry.DATASET_REGISTRY,
        registry.LOSS_REGISTRY,
        registry.METRIC_REGISTRY,
        registry.MODEL_REGISTRY,
    ):
        found = table._obj_map.get(name)
        if found is not None and found.__module__.startswith('refstar.'):
            return found
    return None
