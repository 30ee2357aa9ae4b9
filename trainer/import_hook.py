"""Import hook: patches BasicSR right after it was imported, without importing anything before.

BasicSR 1.4.2 (2022) does not import with a current torchvision, and finds no plugins. Importing it (and torch) costs
seconds, so `import refstar` must not do it. Instead a finder on `sys.meta_path` waits for the modules of AFTER_IMPORT:
:mod:`patches` is imported after basicsr. This project's networks, datasets, losses, metrics and models are imported at
the first look into one of BasicSR's registries.
"""

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from refstar.utils.archs import ARCHS

FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'

# Package -> suffix of the files in it that register something.
SCANNED = {
    'refstar': 'arch',
    'refstar.data': 'dataset',
    'refstar.losses': 'loss',
    'refstar.metrics': 'metric',
    'refstar.models': 'model',
}


class _FunctionalTensor(ModuleType):
    """The module that torchvision removed in 0.17; basicsr/data/degradations.py:8 takes one function from it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(import_module('torchvision.transforms.functional'), name)


def _patch_basicsr(module: ModuleType) -> None:
    import_module('refstar.trainer.patches')


def _patch_awing(module: ModuleType) -> None:
    """facexlib/alignment/awing_arch.py:15: uses `np.float`, which numpy 1.24 removed."""
    module.np = SimpleNamespace(**{**vars(module.np), 'float': float})


AFTER_IMPORT: dict[str, Callable[[ModuleType], None]] = {
    'basicsr': _patch_basicsr,
    'facexlib.alignment.awing_arch': _patch_awing,
}


class _Hook(MetaPathFinder):
    """Finds modules through the other finders and patches them after their execution."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in AFTER_IMPORT:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, 'find_spec'))
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _then(spec.loader.exec_module, AFTER_IMPORT[name])
        return spec


def _then(execute: Callable[[ModuleType], None], patch: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    @wraps(execute)
    def run(module: ModuleType) -> None:
        execute(module)
        patch(module)

    return run


_HOOK = _Hook()
_registered = False


def install() -> None:
    """Puts the hook in place; what was imported earlier is patched at once."""
    if _HOOK in sys.meta_path:
        return
    sys.modules.setdefault(FUNCTIONAL_TENSOR, _FunctionalTensor(FUNCTIONAL_TENSOR))
    sys.meta_path.insert(0, _HOOK)
    for name, patch in AFTER_IMPORT.items():
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, '_initializing', False):
            patch(module)


def register_all() -> None:
    """Imports GFPGAN and everything of this project that registers itself, once."""
    global _registered
    if _registered:
        return
    _registered = True  # before the imports below, which may come back here
    try:
        import_module('gfpgan')
        import_module('refstar.trainer.patches').patch_gfpgan()
        for package, suffix in SCANNED.items():
            for file in sorted(Path(import_module(package).__file__).parent.glob(f'*_{suffix}.py')):
                import_module(f'{package}.{file.stem}')
        registry = import_module('basicsr.utils.registry').ARCH_REGISTRY
        for arch in ARCHS.values():
            registry.register(arch)
    except BaseException:
        _registered = False
        raise


def registered(name: str) -> Any | None:
    """Returns this project's registered class or function of that name, or None. Imports basicsr."""
    import_module('basicsr')
    tables = import_module('basicsr.utils.registry')
    for kind in ('ARCH', 'DATASET', 'LOSS', 'METRIC', 'MODEL'):
        found = dict(iter(getattr(tables, f'{kind}_REGISTRY'))).get(name)
        if found is not None and found.__module__.startswith('refstar.'):
            return found
    return None
