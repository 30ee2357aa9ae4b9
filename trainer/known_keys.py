"""Which keys a class takes in an option file, and its own line of explanation for them.

* Networks, losses, metrics, optimizers, schedulers: the parameters of the class. A class whose parameters end in
  `**kwargs`, in it and all its bases, accepts every key.
* Data sets and models, which take the whole block `opt`: their class attribute `option_keys`, which maps each key to a
  line of explanation (of a model, `train.x` is a key of the block `train`; networks and optimizers need no line); for
  classes without it, those of BasicSR and GFPGAN, every key that their module reads (`opt['x']`, `opt.get('x')`,
  `'x' in opt`).
"""

import inspect
import re
import sys
from functools import cache
from typing import Any

from .basicsr_keys import SET_BY_TRAINER


def parameters(target: Any) -> dict[str, inspect.Parameter] | None:
    """What a class or function takes by keyword; None if a class takes every name (`**kwargs` all the way up).

    The `**kwargs` of a function do not count: BasicSR's metrics only swallow by them what they do not know.
    """
    if not inspect.isclass(target):
        return _signature(target)[0]
    named: dict[str, inspect.Parameter] = {}
    for kind in target.__mro__:
        if '__init__' in vars(kind):
            found, open_ended = _signature(kind.__init__)
            named = {**found, **named}
            if not open_ended:
                named.pop('self')
                return named
    return None


def _signature(function: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    kinds = inspect.Parameter
    listed = inspect.signature(function).parameters
    named = {name: p for name, p in listed.items() if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    return named, any(p.kind is kinds.VAR_KEYWORD for p in listed.values())


@cache
def _keys_read(target: type, block: str | None) -> set[str]:
    """Keys that the module of a class reads from `opt`, or from the block of that name in it."""
    if target.__module__ == 'builtins' or target.__module__.startswith('torch.'):
        return set()
    source = inspect.getsource(sys.modules[target.__module__])
    holder = r'\b(?:self\.)?opt' if block is None else rf"""\b(?:{block}_opt|opt\[['"]{block}['"]\])"""
    key = r"""['"](\w+)['"]"""
    read = re.findall(rf'{holder}(?:\.get\(|\.pop\(|\.setdefault\(|\[)\s*{key}', source)
    asked = re.findall(rf'{key} (?:not )?in (?:self\.)?{holder}', source)
    return {*read, *asked} - SET_BY_TRAINER


def option_keys(target: type, block: str | None = None) -> set[str]:
    """Keys that a dataset or model class takes in its `opt`, or in the block of that name in it.

    Args:
        target: the class. It and each of its bases tells them by `option_keys`, or else by its module's source.
        block: None for the keys of `opt` itself, or 'train', 'val', 'path', 'logger'.
    """
    keys: set[str] = set()
    for kind in target.__mro__:
        listed, read = vars(kind).get('option_keys'), _keys_read(kind, block)
        if listed is None:
            keys |= read
        else:
            split = [key.rpartition('.') for key in listed]
            keys |= {name for where, _, name in split if where == (block or '')}
            keys |= {name for name in read if name.startswith(('network_', 'optim_'))}
    return keys


def explanations(target: type) -> dict[str, str]:
    """`option_keys` of a class and its bases: keys and their lines of explanation."""
    keys: dict[str, str] = {}
    for kind in reversed(target.__mro__):
        keys |= vars(kind).get('option_keys', {})
    return keys
