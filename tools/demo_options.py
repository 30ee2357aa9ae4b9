"""The steps of `refstar demo` and their option files: the shipped ones of ``options/demo``, renamed and overridden."""

import hashlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from refstar.trainer.option_file import load_options
from refstar.utils.errors import RefStarError

TRAININGS = ('refsel', 'backbone', 'refstar')
TESTS = tuple(f'test_{name}' for name in TRAININGS)
STAGES = ({'refsel', 'backbone'}, {'refstar'}, set(TESTS))  # steps of a stage do not need each other
LENGTHS = ('demo', 'experiment')

# Seconds of every step on two CPU cores: only the remaining time before anything was measured rests on them.
EXPECTED_SECONDS = {
    'demo': {
        'refsel': 400,
        'backbone': 320,
        'refstar': 340,
        'test_refsel': 20,
        'test_backbone': 20,
        'test_refstar': 40,
    },
    'experiment': {
        'refsel': 4100,
        'backbone': 3200,
        'refstar': 3100,
        'test_refsel': 40,
        'test_backbone': 25,
        'test_refstar': 130,
    },
}


class _Dumper(yaml.SafeDumper):
    """Writes ordered mappings in their order."""


_Dumper.add_representer(OrderedDict, lambda dumper, data: dumper.represent_dict(data.items()))


@dataclass(frozen=True)
class Step:
    """One training or test.

    Attributes:
        name (str): the option file's stem.
        command (str): 'train' or 'test'.
        experiment (str): BasicSR's ``name``.
        file (Path): option file to run.
        options (dict): its content.
        fingerprint (str): changes with the options of this step and of the steps whose weights it reads.
    """

    name: str
    command: str
    experiment: str
    file: Path
    options: dict
    fingerprint: str

    @property
    def iterations(self) -> int:
        """Iterations of a training, 0 for a test."""
        return int(self.options['train']['total_iter']) if self.command == 'train' else 0

    def product(self) -> Path | None:
        """What the step leaves behind, if it is there: the last checkpoint, or the file of figures."""
        if self.command == 'train':
            pattern = f'experiments/{self.experiment}/models/net_g_latest.pth'
        else:
            pattern = f'results/{self.experiment}/metrics_*.json'
        return next(iter(sorted(Path().glob(pattern))), None)


def put(options: dict, key: str, value: Any) -> None:
    """Sets the dotted ``key``; the blocks on the way must exist.

    Raises:
        RefStarError: a block is missing.
    """
    *blocks, last = key.split('.')
    where = options
    for i, block in enumerate(blocks):
        if not isinstance(where.get(block), dict):
            raise RefStarError(f'override {key}: the option file has no block {".".join(blocks[: i + 1])}')
        where = where[block]
    where[last] = value


def shipped(name: str) -> Path:
    """Path of a file in ``options/demo``."""
    return Path(str(files('refstar.options') / 'demo' / f'{name}.yml'))


def read_overrides(path: Path) -> dict[str, dict[str, Any]]:
    """Reads a table step -> dotted key -> value.

    Raises:
        RefStarError: no such file, or not such a table.
    """
    table = load_options(path)
    for step, entries in table.items():
        if step not in TRAININGS + TESTS or not isinstance(entries, dict):
            raise RefStarError(f'{path}: {step}: expected a step ({", ".join(TRAININGS + TESTS)}) with dotted keys')
    return table


def derive(name: str, prefix: str, overrides: dict[str, Any]) -> OrderedDict:
    """Options of a step: the shipped file under the names ``<prefix>_*``, with overrides."""
    options = load_options(shipped(name))
    known = '|'.join(TESTS + TRAININGS)
    options = _rename(options, re.compile(rf'(?<![a-z_])demo_(?=(?:{known})(?![a-z_]))'), f'{prefix}_')
    for key, value in overrides.items():
        put(options, key, value)
    return options


def _rename(value: Any, pattern: re.Pattern, new: str) -> Any:
    if isinstance(value, dict):
        return OrderedDict((k, _rename(v, pattern, new)) for k, v in value.items())
    return pattern.sub(new, value) if isinstance(value, str) else value


def plan(length: str, prefix: str, out: Path, overrides: Path | None = None) -> list[Step]:
    """Writes the option files of all steps to ``<out>/options`` and returns the steps in order.

    Args:
        length (str): 'demo' (the shipped files) or 'experiment' (with the table ``options/demo/experiment.yml``).
        prefix (str): experiments are called ``<prefix>_<step>``.
        out (Path): output folder.
        overrides (Path | None): a further table, applied last.
    """
    tables = [] if length == 'demo' else [read_overrides(shipped(length))]
    tables += [read_overrides(overrides)] if overrides else []
    folder = out / 'options'
    folder.mkdir(parents=True, exist_ok=True)
    steps: list[Step] = []
    for name in TRAININGS + TESTS:
        command = 'train' if name in TRAININGS else 'test'
        merged = {key: value for table in tables for key, value in (table.get(name) or {}).items()}
        options, file = derive(name, prefix, merged), folder / f'{name}.yml'
        head = f'# Written by `refstar demo`. This step alone: basicsr {command} -opt {file.as_posix()}\n'
        if merged or prefix != 'demo':
            body = yaml.dump(options, Dumper=_Dumper, sort_keys=False, width=120)
        else:
            body = shipped(name).read_text(encoding='utf-8')
        file.write_text(head + body, encoding='utf-8')
        steps.append(Step(name, command, options['name'], file, options, _fingerprint(options, steps)))
    return steps


def _fingerprint(options: dict, before: list[Step]) -> str:
    text = json.dumps({k: v for k, v in options.items() if k != 'logger'}, sort_keys=True)
    used = [s.fingerprint for s in before if f'experiments/{s.experiment}/' in json.dumps(options.get('path') or {})]
    return hashlib.sha256('\n'.join([text, *used]).encode()).hexdigest()[:16]
