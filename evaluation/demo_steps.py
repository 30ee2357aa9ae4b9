"""The steps of `refstar demo` and their option files: the shipped ones of `options/demo`, renamed and overridden."""

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from refstar.trainer.option_file import load_options
from refstar.utils.errors import RefStarError

TRAININGS = ('refsel', 'backbone', 'refstar')
TESTS = tuple(f'test_{name}' for name in TRAININGS)
STAGES = (('refsel', 'backbone'), ('refstar',), TESTS)  # steps of a stage do not need each other

# Length -> step -> seconds on two CPU cores. Only the time left before anything was measured depends on them.
SECONDS = {
    'demo': dict(zip(TRAININGS + TESTS, (400, 320, 340, 20, 20, 40), strict=True)),
    'experiment': dict(zip(TRAININGS + TESTS, (4100, 3200, 3100, 40, 25, 130), strict=True)),
}


@dataclass(frozen=True)
class Step:
    """One training or test.

    Attributes:
        name: the option file's stem.
        experiment: BasicSR's ``name``.
        file: option file to run.
        options: its content.
        fingerprint: changes with the options of this step and of the steps whose weights it reads.
    """

    name: str
    experiment: str
    file: Path
    options: dict
    fingerprint: str

    @property
    def command(self) -> str:
        """'train' or 'test'."""
        return 'train' if self.name in TRAININGS else 'test'

    @property
    def iterations(self) -> int:
        """Iterations of a training, 0 for a test."""
        return int(self.options['train']['total_iter']) if self.command == 'train' else 0

    def product(self) -> Path | None:
        """Return what the finished step leaves behind: the last checkpoint, or the file of figures."""
        if self.command == 'train':
            pattern = f'experiments/{self.experiment}/models/net_g_latest.pth'
        else:
            pattern = f'results/{self.experiment}/metrics_*.json'
        return next(iter(sorted(Path().glob(pattern))), None)


def shipped(name: str) -> Path:
    """Return the path of a file in ``options/demo``."""
    return Path(str(files('refstar.options') / 'demo' / f'{name}.yml'))


def set_option(options: dict, key: str, value: Any) -> None:
    """Set the dotted ``key``; the blocks on the way must exist.

    Raises:
        RefStarError: a block is missing.
    """
    *blocks, last = key.split('.')
    for i, block in enumerate(blocks):
        if not isinstance(options.get(block), dict):
            raise RefStarError(f'override {key}: the option file has no block {".".join(blocks[: i + 1])}')
        options = options[block]
    options[last] = value


def read_overrides(path: Path) -> dict[str, dict[str, Any]]:
    """Read a table step -> dotted key -> value.

    Raises:
        RefStarError: no such file, or not such a table.
    """
    table = load_options(path)
    for step, entries in table.items():
        if step not in TRAININGS + TESTS or not isinstance(entries, dict):
            raise RefStarError(f'{path}: {step}: expected a step ({", ".join(TRAININGS + TESTS)}) with dotted keys')
    return table


def plan(length: str, prefix: str, out: Path, overrides: Path | None = None) -> list[Step]:
    """Write the option files of all steps to ``<out>/options`` and return the steps in order.

    Args:
        length: 'demo' (the shipped files) or 'experiment' (with the table ``options/demo/experiment.yml``).
        prefix: experiments are called ``<prefix>_<step>``.
        out: output folder.
        overrides: a further table, applied last.

    Raises:
        RefStarError: a table is wrong.
    """
    tables = [] if length == 'demo' else [read_overrides(shipped(length))]
    tables += [read_overrides(overrides)] if overrides else []
    (out / 'options').mkdir(parents=True, exist_ok=True)
    experiments = re.compile(rf'(?<![a-z_])demo_(?=({"|".join(TESTS + TRAININGS)})(?![a-z_]))')
    steps: list[Step] = []
    for name in TRAININGS + TESTS:
        merged = {key: value for table in tables for key, value in (table.get(name) or {}).items()}
        text, file = json.dumps(load_options(shipped(name))), out / 'options' / f'{name}.yml'
        options = json.loads(experiments.sub(f'{prefix}_', text))
        for key, value in merged.items():
            set_option(options, key, value)
        step = Step(name, options['name'], file, options, _fingerprint(options, steps))
        head = f'# Written by `refstar demo`. This step alone: basicsr {step.command} -opt {file.as_posix()}\n'
        if merged or prefix != 'demo':
            body = yaml.safe_dump(options, sort_keys=False, width=120)
        else:
            body = shipped(name).read_text(encoding='utf-8')  # with its comments
        file.write_text(head + body, encoding='utf-8')
        steps.append(step)
    return steps


def _fingerprint(options: dict, before: list[Step]) -> str:
    text = json.dumps({k: v for k, v in options.items() if k != 'logger'}, sort_keys=True)
    used = [s.fingerprint for s in before if f'experiments/{s.experiment}/' in json.dumps(options.get('path') or {})]
    return hashlib.sha256('\n'.join([text, *used]).encode()).hexdigest()[:16]
