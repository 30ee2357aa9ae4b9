"""The reference page of all option keys, in Markdown, made of what the option check goes by."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from . import basicsr_keys, training_options
from .known_keys import explanations, option_keys, parameters

HEAD = """# Option keys

Made by `refstar options --write docs/options.md` from what the option check goes by; not written by hand. Any other key
is an error that names the nearest known one.

Not in here are networks, losses and metrics of BasicSR and GFPGAN, whose keys are the arguments of their classes, and
their data sets, whose keys are what they read ([basicsr.md](basicsr.md#keys-of-your-own-classes)).
"""
ENTRY = re.compile(r'(?P<names>\w+(?:, \w+)*)(?: \([^)]*\))?: (?P<text>.*)')


def page() -> str:
    """Returns the page; imports basicsr."""
    import basicsr  # noqa: F401, fills the registries
    from basicsr.utils import registry

    base = [
        ('Top level', '', basicsr_keys.TOP),
        ('`datasets`: every data set', '', basicsr_keys.DATASET),
        ('`path`', 'path.', basicsr_keys.PATH),
        ('`train`: every model', 'train.', {**basicsr_keys.TRAIN, **training_options.TRAIN}),
        ('`train.optim_*`', '', basicsr_keys.OPTIMIZER),
        ('`train.scheduler`', '', basicsr_keys.SCHEDULER),
        ('`train` and losses: what keys of these endings may be', '', basicsr_keys.ENDINGS),
        ('`val`', 'val.', basicsr_keys.VAL),
        ('`logger`', 'logger.', {**basicsr_keys.LOGGER, **training_options.LOGGER}),
        ('`logger.wandb`', '', basicsr_keys.WANDB),
        ('`dist_params`', '', basicsr_keys.DIST),
    ]
    parts = [HEAD]
    for title, prefix, keys in base:
        parts.append(section(title, {name: key.line for name, key in keys.items()}, prefix))
    for title, table, keys_of, packages in (
        ('Models', registry.MODEL_REGISTRY, of_model, ('refstar', 'basicsr', 'gfpgan')),
        ('Data sets', registry.DATASET_REGISTRY, explanations, ('refstar',)),
        ('Networks', registry.ARCH_REGISTRY, arguments, ('refstar',)),
        ('Losses', registry.LOSS_REGISTRY, arguments, ('refstar',)),
        ('Metrics', registry.METRIC_REGISTRY, arguments, ('refstar',)),
    ):
        parts += [f'## {title}\n', *sections(table, keys_of, packages)]
    return '\n'.join(part for part in parts if part)


def sections(table: Any, keys_of: Callable[[Any], dict[str, str]], packages: tuple[str, ...]) -> list[str]:
    """The registered classes and functions of some packages by name; those of the same keys together."""
    found: dict[tuple, list[str]] = {}
    for name, thing in sorted(table):
        if thing.__module__.split('.')[0] in packages:
            found.setdefault(tuple(keys_of(thing).items()), []).append(f'`{name.removesuffix("_basicsr")}`')
    return [section(', '.join(names), dict(keys), '', 3) for keys, names in found.items()]


def of_model(target: type) -> dict[str, str]:
    """What a model takes beyond the keys of every model: those with an explanation of their own first."""
    keys = explanations(target)
    for block, every in (
        ('', basicsr_keys.TOP),
        ('path', basicsr_keys.PATH),
        ('train', {**basicsr_keys.TRAIN, **training_options.TRAIN}),
        ('val', basicsr_keys.VAL),
        ('logger', {**basicsr_keys.LOGGER, **training_options.LOGGER}),
    ):
        for name in sorted(option_keys(target, block or None) - set(every)):
            key = f'{block}.{name}'.removeprefix('.')
            if not key.startswith(('path.pretrain_network_', 'path.param_key_', 'path.strict_load_')):
                keys.setdefault(key, basicsr_keys.MODELS.get(key, ''))
    return keys


def arguments(target: Any) -> dict[str, str]:
    """Arguments of a network or loss, or those of a metric that have a default, with the text of its docstring."""
    doc = dict(documented(inspect.getdoc(target) or ''))
    for kind in getattr(target, '__mro__', ()):  # shared arguments are explained in a base
        doc = {**dict(documented(inspect.getdoc(kind) or '')), **doc} if kind.__module__.startswith('refstar.') else doc
    is_metric = not inspect.isclass(target)
    taken = parameters(target) or {}
    return {name: doc.get(name) or default(p) for name, p in taken.items() if not (is_metric and p.default is p.empty)}


def default(parameter: inspect.Parameter) -> str:
    """For an argument without a text."""
    return 'needed' if parameter.default is parameter.empty else f'default {parameter.default!r}'


def documented(doc: str) -> Iterator[tuple[str, str]]:
    """Names and texts of the section `Args:` of a docstring in Google's style."""
    _, found, block = doc.partition('Args:\n')
    if not found:
        return
    lines = re.split(r'\n\S|\n\n', block)[0].splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    entries: list[str] = []
    for line in lines:
        if line[indent:].startswith(' ') and entries:
            entries[-1] += f' {line.strip()}'
        else:
            entries.append(line.strip())
    for entry in filter(None, map(ENTRY.fullmatch, entries)):
        for name in entry['names'].split(', '):
            yield name, entry['text']


def section(title: str, keys: dict[str, str], prefix: str = '', level: int = 2) -> str:
    """A heading and a table of keys; a heading alone if there are none."""
    rows = [f'| `{prefix}{name}` | {cell(text)} |' for name, text in keys.items()]
    table = ['', '| key | |', '|---|---|', *rows] if rows else ['', 'No keys.']
    return '\n'.join([f'{"#" * level} {title}', *table, ''])


def cell(text: str) -> str:
    """A text that a table can hold."""
    text = re.sub(r':\w+:`~?([^`]*)`', r'`\1`', text.replace('``', '`'))  # Sphinx's names of things
    text = re.sub(r'(`[^`]*`)|<', lambda found: found[1] or '&lt;', text)
    return ' '.join(text.replace('|', '\\|').split())
