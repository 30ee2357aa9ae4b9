"""Schemas of option blocks whose keys are the parameters of a class or function."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import create_model

from refstar.utils.option_block import AnyKey, OptionBlock

from .run_options import Named

# Parameters that no option file sets: of optimizers, of schedulers, of metrics.
GIVEN = ['params', 'optimizer', 'last_epoch', 'img', 'img2', 'mask', 'flow', 'true_flow', 'known', 'refs', 'wrong_refs']


@cache
def call_block(target: Any, base: type[OptionBlock] = Named) -> type[OptionBlock]:
    """Returns the schema of a block for the call of a class or function: what is needed, and of which types.

    The parameters of bases count where a class hands on `**kwargs`; a class with `**kwargs` up to the top takes any
    key. The `**kwargs` of a function do not count: BasicSR's metrics ignore what they get by them. A class attribute
    `option_blocks` maps a parameter to the class whose parameters the block under that key has.
    """
    functions = [vars(kind).get('__init__') for kind in target.__mro__] if inspect.isclass(target) else [target]
    found: dict[str, inspect.Parameter] = {}
    is_open = True
    for function in filter(None, functions):
        taken = inspect.signature(function).parameters
        found = {**taken, **found}
        is_open = inspect.isclass(target) and any(p.kind is p.VAR_KEYWORD for p in taken.values())
        if not is_open:
            break
    blocks, keys = getattr(target, 'option_blocks', {}), {}
    for name, parameter in found.items():
        if (
            name == 'self'
            or name.startswith('_')
            or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ):
            continue
        own, is_needed = base.model_fields.get(name), parameter.default is parameter.empty
        if name in GIVEN:
            keys[name] = (Any, None)
        elif name in blocks:
            keys[name] = (call_block(blocks[name], OptionBlock) | None, None)
        elif own is None or is_needed:
            kind = plain(own.annotation) if own else type_of(parameter)
            may_be_none = not is_needed and type(parameter.default) not in (int, float) and kind is not Any
            keys[name] = (kind | None if may_be_none else kind, ... if is_needed else parameter.default)
    return create_model(target.__name__, __base__=(base, AnyKey) if is_open else base, **keys)


def type_of(parameter: inspect.Parameter) -> Any:
    """Returns the type of a parameter's values in an option file: by its annotation, or that of its default."""
    if parameter.annotation is not parameter.empty:
        return plain(parameter.annotation)
    kind = type(parameter.default)
    return float if kind is int else plain(kind)


def plain(annotation: Any) -> Any:
    """Returns what YAML has for an annotation, without None; `Any` where that is not known."""
    origin, parts = get_origin(annotation), get_args(annotation)
    kinds = [plain(part) for part in parts if part not in (type(None), Ellipsis)]
    one = Any if not kinds or Any in kinds else Union[tuple(kinds)]  # noqa: UP007
    if origin in (Union, UnionType):
        return one
    if annotation in (list, tuple) or origin in (list, tuple, Sequence):
        return list[one]
    if annotation in (dict, Mapping) or origin in (dict, Mapping):
        return dict
    return annotation if annotation in (bool, int, float, str) or origin is Annotated else Any
