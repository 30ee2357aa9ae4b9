"""Reads the lines that BasicSR's message logger writes during a training."""

import re
from dataclasses import dataclass
from pathlib import Path

_ITERATION = re.compile(r', iter:\s*([\d,]+), lr:\(')
_TERM = re.compile(r'(\w+): (-?\d\.\d+e[+-]\d+)(?=\s|$)')


@dataclass(frozen=True)
class Entry:
    """One logged iteration.

    Attributes:
        iteration (int): counted from 1.
        terms (dict[str, float]): logged values by name, in the order of the log.
    """

    iteration: int
    terms: dict[str, float]

    @property
    def loss(self) -> float:
        """Sum of net_g's losses: every ``l_*`` but the discriminator's own."""
        return sum(v for k, v in self.terms.items() if k.startswith('l_') and k.split('_')[1] != 'd')


def parse_line(line: str) -> Entry | None:
    """The logged iteration in a line of a log, or None if the line holds none."""
    found = _ITERATION.search(line)
    if not found:
        return None
    terms = _TERM.findall(line[found.end() :])
    return Entry(int(found[1].replace(',', '')), {name: float(value) for name, value in terms})


def read_log(path: str | Path) -> list[Entry]:
    """All logged iterations of a file in rising order; where a resumed run repeats some, its own count."""
    entries = filter(None, map(parse_line, Path(path).read_text(encoding='utf-8', errors='replace').splitlines()))
    return [entry for _, entry in sorted({e.iteration: e for e in entries}.items())]
