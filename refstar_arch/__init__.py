"""RefSTAR: reference-guided face restoration as a BasicSR plugin.

`import refstar` is light (it imports no torch) and arranges that, as soon as BasicSR is imported, BasicSR works on
current libraries and every network, dataset, loss, metric and model of this project is in BasicSR's registries.
Registered classes and functions are attributes of this module: `from refstar import RefSTAR`.
"""

from typing import Any

from refstar.trainer import import_hook
from refstar.utils.errors import RefStarError

__version__ = '0.2.0'
__all__ = ['RefStarError', '__version__']

# Public names that are in no registry: name -> module.
_LAZY = {'ReferenceBank': 'refstar.reference_bank', 'Restorer': 'refstar.restore.restorer'}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    if name[0].isupper() or name.startswith('calculate_'):
        found = import_hook.registered(name)
        if found is not None:
            return found
    raise AttributeError(f"module 'refstar' has no attribute {name!r}")


import_hook.install()
