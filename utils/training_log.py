"""Reading of BasicSR's training logs: losses and validations, also of resumed runs."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from refstar.utils.errors import RefStarError

_ITERATION = re.compile(r', iter:\s*([\d,]+), lr:\(')
_TERM = re.compile(r'(\w+): (-?\d\.\d+e[+-]\d+)(?=\s|$)')
_OPTION = re.compile(r'^\s*(val_freq|total_iter): (\d+)')
_START = re.compile(r'INFO: Start training from epoch: \d+, iter: (\d+)')
_VALIDATION = re.compile(r'INFO: Validation (.+)')
_METRIC = re.compile(r'\t # (\w+): (\S+)')
_END = 'INFO: End of training.'


@dataclass(frozen=True)
class LoggedIteration:
    """One logged iteration, counted from 1, and its values by name in the order of the log."""

    iteration: int
    terms: dict[str, float]

    @property
    def loss(self) -> float:
        """Sum of net_g's losses: every ``l_*`` but the discriminator's own."""
        return sum(v for k, v in self.terms.items() if k.startswith('l_') and k.split('_')[1] != 'd')


@dataclass
class History:
    """Everything that a training logged: entries by iteration; (data set, metric) -> figure by iteration."""

    entries: dict[int, LoggedIteration] = field(default_factory=dict)
    metrics: dict[tuple[str, str], dict[int, float]] = field(default_factory=dict)


def parse_line(line: str) -> LoggedIteration | None:
    """Return the logged iteration in a line of a log, or None if the line holds none."""
    if not (found := _ITERATION.search(line)):
        return None
    terms = _TERM.findall(line[found.end() :])
    return LoggedIteration(int(found[1].replace(',', '')), {name: float(value) for name, value in terms})


def read_run(folder: Path) -> History:
    """Read all logs of a run in `experiments/<name>`; where a resumed run repeats iterations, the later log counts.

    Raises:
        RefStarError: there is no such folder, no log in it, or nothing was logged yet.
    """
    logs = sorted(folder.glob('train_*.log'), key=lambda path: path.stem[-len('20260101_120000') :])
    if not logs:
        what = 'no train_*.log in it' if folder.is_dir() else 'no such folder'
        raise RefStarError(f'{folder}: {what}; the folder of a run is expected (experiments/NAME)')
    history = History()
    for log in logs:
        _add(history, log.read_text(encoding='utf-8', errors='replace').splitlines())
    if not history.entries:
        raise RefStarError(f'{folder}: its logs hold no iteration yet (logger:print_freq says how often one is logged)')
    return history


def _add(history: History, lines: list[str]) -> None:
    """Add a log.

    BasicSR does not log the iteration of a validation. It follows from val_freq and the last logged iteration.
    """
    options: dict[str, int] = {}
    start = last = iteration = 0
    dataset, ended = '', False
    validated: dict[str, int] = {}
    for line in lines:
        if found := _OPTION.match(line):
            options.setdefault(found[1], int(found[2]))
        elif found := _START.search(line):
            start = last = int(found[1])
            for line_of in (history.entries, *history.metrics.values()):  # a killed run logged more than it saved
                for at in [at for at in line_of if at > start]:
                    del line_of[at]
        elif entry := parse_line(line):
            history.entries[entry.iteration], last = entry, entry.iteration
        elif _END in line:
            ended = True
        elif found := _VALIDATION.search(line):
            dataset, every = found[1], options.get('val_freq', 1)
            later = (validated.get(dataset, start) // every + 1) * every
            iteration = options.get('total_iter', last) if ended else max(math.ceil(last / every) * every, later)
            validated[dataset] = iteration
        elif dataset and (found := _METRIC.match(line)):
            history.metrics.setdefault((dataset, found[1]), {})[iteration] = float(found[2])
