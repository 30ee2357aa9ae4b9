"""Networks of this project by name: they are built without BasicSR, whose import takes longer than restoring a photo.

BasicSR's registry receives them too, as soon as it is looked into (:mod:`refstar.trainer.import_hook`).
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

ARCHS: dict[str, Callable[..., Any]] = {}  # name -> class, or function that returns a module; those imported so far


def register_arch(arch: Callable[..., Any]) -> Callable[..., Any]:
    """Make a network known by its name: a decorator."""
    ARCHS[arch.__name__] = arch
    return arch


def build_network(options: Mapping[str, Any]) -> Any:
    """Build the network (nn.Module) of an option block: one of `ARCHS`, else of BasicSR's registry."""
    if options['type'] in ARCHS:
        block = copy.deepcopy(dict(options))
        return ARCHS[block.pop('type')](**block)
    from basicsr.archs import build_network

    return build_network(options)
