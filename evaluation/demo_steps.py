"""The steps of `refstar demo`: their option files, and their processes."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from refstar.trainer.option_file import load_options
from refstar.utils.errors import RefStarError
from refstar.utils.parallel import cores
from refstar.utils.text_files import write_text
from refstar.utils.training_log import parse_line

TRAININGS = ('refsel', 'backbone', 'refstar')
TESTS = tuple(f'test_{name}' for name in TRAININGS)
STAGES = (('refsel', 'backbone'), ('refstar',), TESTS)  # steps of a stage do not need each other

BAR = '{percentage:3.0f}%|{bar:20}| {elapsed}, {remaining} left for all trainings {postfix}'


@dataclass(frozen=True)
class Step:
    """One training or test."""

    name: str  # the option file's stem
    experiment: str  # BasicSR's ``name``
    file: Path  # option file to run
    options: dict
    fingerprint: str  # changes with the options of this step and of the steps whose weights it reads

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
        folder, file = ('experiments', 'models/net_g_latest.pth') if self.iterations else ('results', 'metrics_*.json')
        return next(iter(sorted(Path(folder, self.experiment).glob(file))), None)


def shipped(name: str) -> Path:
    """Return the path of a file in ``options/demo``."""
    return Path(str(files('refstar.options') / 'demo' / f'{name}.yml'))


def set_option(options: dict, key: str, value: Any) -> None:
    """Set the dotted ``key``, or raise RefStarError where a block on the way is missing."""
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
        overrides: a further table of options, applied last.

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
        file = out / 'options' / f'{name}.yml'
        options = json.loads(experiments.sub(f'{prefix}_', json.dumps(load_options(shipped(name)))))
        for key, value in merged.items():
            set_option(options, key, value)
        step = Step(name, options['name'], file, options, _fingerprint(options, steps))
        head = f'# Written by `refstar demo`. This step alone: basicsr {step.command} -opt {file.as_posix()}\n'
        body = shipped(name).read_text(encoding='utf-8')  # with its comments
        if merged or prefix != 'demo':
            body = yaml.safe_dump(options, sort_keys=False, width=120)
        file.write_text(head + body, encoding='utf-8')
        steps.append(step)
    return steps


def _fingerprint(options: dict, before: list[Step]) -> str:
    text = json.dumps({k: v for k, v in options.items() if k != 'logger'}, sort_keys=True)
    used = [s.fingerprint for s in before if f'experiments/{s.experiment}/' in json.dumps(options.get('path') or {})]
    return hashlib.sha256('\n'.join([text, *used]).encode()).hexdigest()[:16]


class Run:
    """A step as a process of its own, on so many threads; its output goes to ``<out>/logs/<step>.log``.

    With ``resume`` a training goes on from its last checkpoint.
    """

    def __init__(self, step: Step, out: Path, threads: int, resume: bool) -> None:
        self.step, self.entry, self.start = step, None, time.monotonic()
        self.log = out / 'logs' / f'{step.name}.log'
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, '-m', f'refstar.tools.{step.command}', '-opt', str(step.file)]
        command += ['--auto_resume'] if resume and step.command == 'train' else []
        environment = {'OMP_NUM_THREADS': str(threads), **os.environ, 'PYTHONUNBUFFERED': '1'}
        with open(self.log, 'a' if resume else 'w', encoding='utf-8') as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)

    def is_done(self) -> bool:
        """Return whether the step has ended; also read its log.

        Raises:
            RefStarError: it failed; the message holds the last line of its log.
        """
        code = self.process.poll()
        lines = self.log.read_text(encoding='utf-8', errors='replace').splitlines()
        self.entry = next(filter(None, map(parse_line, reversed(lines))), None)
        if code is not None and (code or self.step.product() is None):
            end = lines[-1] if lines else 'nothing'
            raise RefStarError(f'step {self.step.name} failed (exit code {code}); its log {self.log} ends with: {end}')
        return code == 0

    def stop(self) -> None:
        """End the process if it is still running, and wait for it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()


def run_steps(steps: Sequence[Step], out: Path) -> dict[str, float]:
    """Run all steps that are not done, those of a stage side by side, each on its share of the cores.

    ``<out>/steps.json`` says which steps were begun (with which options) and done. A progress bar counts the iterations
    of all trainings.

    Returns:
        Seconds that each step took, in its last run.

    Raises:
        RefStarError: a step failed; the others are ended.
    """
    file = out / 'steps.json'
    try:
        rows = json.loads(file.read_text(encoding='utf-8')) if file.is_file() else {}
    except ValueError as error:
        raise RefStarError(f'{file}: broken ({error}); delete it to start the steps afresh') from error
    rows = {s.name: rows[s.name] for s in steps if rows.get(s.name, {}).get('fingerprint') == s.fingerprint}
    done = {s.name for s in steps if rows.get(s.name, {}).get('seconds') and s.product() is not None}
    at = {step.name: step.iterations if step.name in done else 0 for step in steps}
    bar = tqdm(total=sum(step.iterations for step in steps), initial=sum(at.values()), bar_format=BAR, disable=None)
    for stage in STAGES:
        waiting = [step for step in steps if step.name in stage and step.name not in done]
        for step in steps:
            if step.name in stage:
                tqdm.write(f'{step.experiment}: {"done earlier" if step.name in done else f"{step.command} ..."}')
        runs: list[Run] = []
        try:
            for step in waiting:
                runs.append(Run(step, out, max(1, cores() // len(waiting)), resume=step.name in rows))
                rows[step.name] = {'fingerprint': step.fingerprint, 'seconds': None}
                write_text(file, json.dumps(rows, indent=2))
            running = list(runs)
            while running:
                time.sleep(0.5)
                for run in [run for run in running if run.is_done()]:
                    running.remove(run)
                    seconds = rows[run.step.name]['seconds'] = round(time.monotonic() - run.start, 1)
                    write_text(file, json.dumps(rows, indent=2))
                    tqdm.write(f'{run.step.experiment}: {tqdm.format_interval(seconds)}')
                at |= {run.step.name: run.entry.iteration for run in runs if run.entry}
                bar.n = sum(at.values())
                bar.set_postfix_str('   '.join(f'{r.step.name} loss {r.entry.loss:.4f}' for r in running if r.entry))
        finally:
            for run in runs:
                run.stop()
    bar.close()
    return {name: row['seconds'] for name, row in rows.items()}
