"""`refstar options`: prints all keys of option files as a Markdown page, or writes it to a file."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from refstar.utils.errors import CommandParser
from refstar.utils.option_block import DatasetOptions, OptionBlock, expected_of

from .cli_common import command

HEAD = """# Option keys

For those who write an option file. `refstar options --write docs/options.md` makes this page from the schema that
option files are checked with. An unknown key is an error that names the nearest known one.

The keys of networks, losses and metrics are the arguments of their classes; their docstrings explain them. What BasicSR
and GFPGAN bring is checked too (`trainer/stock_keys.py`), but not listed; `Ref<Name>` models take the keys of `<Name>`.
"""


def page() -> str:
    """Returns the page; imports basicsr."""
    import basicsr  # noqa: F401, fills the registries
    from basicsr.utils import registry

    from refstar.trainer import run_options, signatures
    from refstar.trainer.option_check import BLOCKS, block_of

    def of_dataset(kind: type) -> list[str]:
        return rows(block_of(kind, every=DatasetOptions), besides=DatasetOptions.model_fields)

    def of_call(target: Any) -> list[str]:
        return rows(signatures.call_block(target), besides=('type', *signatures.GIVEN))

    parts = [HEAD]
    for block, schema in BLOCKS.items():
        parts.append(section(f'`{block}`: every model' if block else 'Top level', rows(schema, block)))
    for title, schema in (
        ('`datasets`: every dataset', DatasetOptions),
        ('`train.optim_*`', run_options.Optimizer),
        ('`train.scheduler`', run_options.Scheduler),
        ('`logger.wandb`', run_options.Wandb),
        ('`dist_params`', run_options.Dist),
    ):
        parts.append(section(title, rows(schema)))
    for title, table, rows_of in (
        ('Models', registry.MODEL_REGISTRY, of_model),
        ('Datasets', registry.DATASET_REGISTRY, of_dataset),
        ('Networks', registry.ARCH_REGISTRY, of_call),
        ('Losses', registry.LOSS_REGISTRY, of_call),
        ('Metrics', registry.METRIC_REGISTRY, of_call),
    ):
        parts += [f'## {title}\n', *sections(table, rows_of)]
    return '\n'.join(parts)


def rows(schema: type[OptionBlock], block: str = '', besides: Iterable[str] = ()) -> list[str]:
    """Returns a line for each key of a block: description, default, values."""
    from refstar.trainer.stock_keys import TYPES

    found = []
    for name, field in schema.model_fields.items():
        path = f'{block}.{name}'.lstrip('.')
        text = field.description or ('as in BasicSR or GFPGAN' if path in TYPES else '')
        if field.is_required():
            text += ' (needed)'
        elif field.default is not None and '(default' not in text:
            text += f' (default {field.default!r})'
        expected = expected_of(field.annotation, field.metadata)
        if name not in besides:
            texts = (text.strip(), f'*{expected}*' if expected else '')
            found.append(f'- `{path}`: {". ".join(filter(None, texts))}')
    return found


def of_model(model: type) -> list[str]:
    """Returns what a model takes beyond the keys of every model, without those of `path` that follow from networks."""
    from refstar.trainer.option_check import BLOCKS, block_of

    found = []
    for block, every in BLOCKS.items():
        schema = block_of(model, block)
        derived = [name for name, field in schema.model_fields.items() if block == 'path' and not field.description]
        found += rows(schema, block, besides=(*every.model_fields, *derived))
    return found


def sections(table: Any, rows_of: Callable[[Any], list[str]]) -> list[str]:
    """Returns a section for each registered class or function of this project; those of the same keys share one."""
    found: dict[tuple, list[str]] = {}
    for name, thing in sorted(table):
        if thing.__module__.startswith('refstar.'):
            found.setdefault(tuple(rows_of(thing)), []).append(f'`{name.removesuffix("_basicsr")}`')
    return [section(', '.join(names), list(keys), 3) for keys, names in found.items()]


def section(title: str, keys: list[str], level: int = 2) -> str:
    """Returns a heading and a list of keys."""
    return '\n'.join([f'{"#" * level} {title}', '', *(keys or ['No keys.']), ''])


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
