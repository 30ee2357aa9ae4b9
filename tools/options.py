"""`refstar options`: prints all keys of option files as a Markdown page, or writes it to a file."""

import inspect
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from refstar.utils.errors import CommandParser
from refstar.utils.option_block import DatasetOptions, OptionBlock, expected_of

from .cli_common import command

HEAD = """# Option keys

For those who write an option file. `refstar options --write docs/options.md` makes this page from the schema that
option files are checked with. An unknown key is an error that names the nearest known one.

The keys of networks, losses and metrics are the arguments of their classes; their docstrings explain them. Those of
BasicSR and GFPGAN are not listed, nor are their datasets (`trainer/stock_keys.py`).
"""


def page() -> str:
    """Returns the page; imports basicsr."""
    import basicsr  # noqa: F401, fills the registries
    from basicsr.utils import registry

    from refstar.trainer import run_options
    from refstar.trainer.option_check import BLOCKS, dataset_block

    parts = [HEAD]
    for block, schema in BLOCKS.items():
        parts.append(section(f'`{block}`: every model' if block else 'Top level', texts(schema, block)))
    for title, schema in (
        ('`datasets`: every dataset', DatasetOptions),
        ('`train.optim_*`', run_options.Optimizer),
        ('`train.scheduler`', run_options.Scheduler),
        ('`logger.wandb`', run_options.Wandb),
        ('`dist_params`', run_options.Dist),
    ):
        parts.append(section(title, texts(schema)))

    def of_dataset(kind: type) -> dict[str, str]:
        return {name: text for name, text in texts(dataset_block(kind)).items() if name not in texts(DatasetOptions)}

    for title, table, keys_of, packages in (
        ('Models', registry.MODEL_REGISTRY, of_model, ('refstar', 'basicsr', 'gfpgan')),
        ('Datasets', registry.DATASET_REGISTRY, of_dataset, ('refstar',)),
        ('Networks', registry.ARCH_REGISTRY, arguments, ('refstar',)),
        ('Losses', registry.LOSS_REGISTRY, arguments, ('refstar',)),
        ('Metrics', registry.METRIC_REGISTRY, arguments, ('refstar',)),
    ):
        parts += [f'## {title}\n', *sections(table, keys_of, packages)]
    return '\n'.join(parts)


def texts(schema: type[OptionBlock], block: str = '') -> dict[str, str]:
    """Returns the keys of a block with their descriptions, values and defaults."""
    return {f'{block}.{name}'.lstrip('.'): describe(field) for name, field in schema.model_fields.items()}


def describe(field: FieldInfo) -> str:
    """Returns the text of one key."""
    if field.description is None:
        return ''
    expected = expected_of(field.annotation, field.metadata)
    shown = field.default is not None and not field.is_required() and '(default' not in field.description
    default = f' (default {field.default!r})' if shown else ''
    needed = ' (needed)' if field.is_required() else ''
    return f'{field.description}{default}{needed}' + (f'. *{expected}*' if expected else '')


def of_model(model: type) -> dict[str, str]:
    """Returns what a model takes beyond the keys of every model, without those of `path` that follow from networks."""
    from refstar.trainer.option_check import BLOCKS, block_of
    from refstar.trainer.stock_keys import STOCK_KEYS

    keys = {}
    for block, every in BLOCKS.items():
        for name, text in texts(block_of(model, block), block).items():
            if name.rpartition('.')[2] not in every.model_fields:
                keys[name] = text or STOCK_KEYS.get(name, ('', ''))[1]
    return {name: text for name, text in keys.items() if text}


def sections(table: Any, keys_of: Callable[[Any], dict[str, str]], packages: tuple[str, ...]) -> list[str]:
    """Returns a section for each registered class or function of some packages; those of the same keys share one."""
    found: dict[tuple, list[str]] = {}
    for name, thing in sorted(table):
        if thing.__module__.split('.')[0] in packages:
            found.setdefault(tuple(keys_of(thing).items()), []).append(f'`{name.removesuffix("_basicsr")}`')
    return [section(', '.join(names), dict(keys), 3) for keys, names in found.items()]


def arguments(target: Any) -> dict[str, str]:
    """Returns the arguments of a network or loss, or those of a metric that have a default."""
    kinds = target.__mro__ if inspect.isclass(target) else [target]
    found = {}
    for kind in kinds:
        if kind.__module__.startswith('refstar.') and (target is kind or '__init__' in vars(kind)):
            found = {**dict(inspect.signature(kind).parameters), **found}
    is_metric, empty = not inspect.isclass(target), inspect.Parameter.empty
    return {
        name: 'needed' if p.default is empty else f'default {p.default!r}'
        for name, p in found.items()
        if p.kind is not p.VAR_KEYWORD and not (is_metric and p.default is empty)
    }


def section(title: str, keys: dict[str, str], level: int = 2) -> str:
    """Returns a heading and a list of keys."""
    rows = [f'- `{name}`: {text}' for name, text in keys.items()] or ['No keys.']
    return '\n'.join([f'{"#" * level} {title}', '', *rows, ''])


def add_arguments(p: CommandParser) -> None:
    """Describes the command line."""
    p.add_argument('--write', type=Path, metavar='FILE', help='write the page there instead of printing it')


def run(args: Namespace) -> None:
    """Prints or writes the page."""
    if args.write is None:
        print(page())
    else:
        args.write.write_text(page(), encoding='utf-8')


main = command('refstar options', 'All keys of option files, as a Markdown page.', add_arguments, run)

if __name__ == '__main__':
    sys.exit(main())
