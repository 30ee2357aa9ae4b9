"""`refstar plot`: losses and validations of trainings in one picture, from their logs."""

import argparse
import math
import sys
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from refstar.trainer.training_log import History, read_run
from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError

from .cli_common import run_command

ARMS = {'right': '-', 'none': ':', 'wrong': '--'}  # how they are drawn
LEGEND = {'right': 'right reference', 'none': 'no reference', 'wrong': 'wrong reference'}
COLUMNS, PANEL = 4, (4.2, 2.9)  # inches
SMOOTH = 40  # a line's windows: each point is the mean of a 40th of the run
TOTAL = 'sum of the losses of net_g'

Line = dict[int, float]  # value by iteration


def losses(history: History, terms: list[str] | None) -> dict[str, Line]:
    """Lines of logged values by name: the chosen ones, or all losses and their sum."""
    entries = sorted(history.entries.items())
    names = terms or list(dict.fromkeys(name for _, e in entries for name in e.terms if name.startswith('l_')))
    lines = {name: {i: e.terms[name] for i, e in entries if name in e.terms} for name in names}
    lines = {name: line for name, line in lines.items() if line}
    return lines if terms or len(lines) < 2 else {TOTAL: {i: e.loss for i, e in entries}, **lines}


def validations(history: History) -> dict[str, dict[str, Line]]:
    """Panel (data set and metric) -> arm -> line; the arm is '' in a run without arms.

    Arms are in the names of metrics (`right_psnr`: RefSTARModel, RefSelModel) or of data sets (`val_none`: RefSRModel
    and the like, where the right references have no ending).
    """
    panels: dict[str, dict[str, Line]] = {}
    datasets = {dataset for dataset, _ in history.metrics}
    for (dataset, metric), line in history.metrics.items():
        arm, _, rest = metric.partition('_')
        base, _, ending = dataset.rpartition('_')
        if arm in ARMS and rest:
            metric = rest
        elif ending in ARMS and base in datasets:
            dataset, arm = base, ending
        else:
            arm = 'right' if any(f'{dataset}_{other}' in datasets for other in ARMS) else ''
        panels.setdefault(f'{dataset}: {metric}', {})[arm] = line
    return panels


def smoothed(values: list[float]) -> list[float]:
    """Running means over a window that grows with the number of values; ends as it begins, with short windows."""
    half, means = len(values) // SMOOTH // 2, []
    for at in range(len(values)):
        reach = min(half, at, len(values) - 1 - at)
        window = values[at - reach : at + reach + 1]
        means.append(sum(window) / len(window))
    return means


def labels(folders: list[Path]) -> list[str]:
    """What runs are called: the names of their folders, or whole paths where two have the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def draw(runs: dict[str, History], terms: list[str] | None = None) -> Any:
    """One panel per metric and per loss, all runs in each: a colour per run, a kind of line per arm.

    Args:
        runs (dict): history by name.
        terms (list[str] | None): logged values to draw; None: all losses.

    Returns:
        matplotlib.figure.Figure: the picture.

    Raises:
        RefStarError: matplotlib is not installed, or no run logged a term.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        raise RefStarError("refstar plot needs matplotlib: pip install 'refstar[plot]'") from error

    curves = {run: losses(history, terms) for run, history in runs.items()}
    scores = {run: validations(history) for run, history in runs.items()}
    for term in terms or ():
        if not any(term in lines for lines in curves.values()):
            known = sorted({name for history in runs.values() for e in history.entries.values() for name in e.terms})
            raise RefStarError(f'--terms {term}: not in these logs; they have {", ".join(known)}')
    panels = [*_union(scores.values()), *_union(curves.values())]
    rows = math.ceil(len(panels) / COLUMNS)
    columns = min(COLUMNS, len(panels))
    figure = Figure((PANEL[0] * max(columns, 2), PANEL[1] * rows + 0.6), layout='constrained')
    axes = dict(zip(panels, figure.subplots(rows, columns, squeeze=False).flat, strict=False))
    colours = {run: f'C{i % 10}' for i, run in enumerate(runs)}
    arms: dict[str, None] = {}
    for run, colour in colours.items():
        for panel, lines in scores[run].items():
            for arm, line in lines.items():
                arms |= {arm: None} if arm else {}
                axes[panel].plot(*_points(line), ARMS.get(arm, '-'), color=colour, marker='.', ms=4, lw=1.4)
        for panel, line in curves[run].items():
            iterations, values = _points(line)
            axes[panel].plot(iterations, values, color=colour, lw=0.7, alpha=0.3)
            axes[panel].plot(iterations, smoothed(values), color=colour, lw=1.4)
    for axis in figure.axes[len(panels) :]:
        axis.remove()
    for panel in _union(curves.values()):
        if min(value for lines in curves.values() for value in lines.get(panel, {}).values()) > 0:
            axes[panel].set_yscale('log')
    figure.supxlabel('iteration', fontsize=9)
    for panel, axis in axes.items():
        axis.set_title(panel, fontsize=10)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    handles = [Line2D([], [], color=colour, label=run) for run, colour in colours.items()]
    handles += [Line2D([], [], color='0.3', ls=ARMS[arm], label=LEGEND[arm]) for arm in ARMS if arm in arms]
    figure.legend(handles=handles, loc='outside upper center', ncols=min(len(handles), 5), fontsize=9, frameon=False)
    return figure


def _union(tables: Iterable[dict[str, Any]]) -> dict[str, None]:
    """All keys, in the order in which they come first."""
    return dict.fromkeys(key for table in tables for key in table)


def _points(line: Line) -> tuple[list[int], list[float]]:
    return list(line), list(line.values())


def save(figure: Any, file: Path) -> None:
    """Writes a picture, whole or not at all.

    Raises:
        RefStarError: unknown kind of picture, or the file cannot be written.
    """
    kinds = figure.canvas.get_supported_filetypes()
    kind = file.suffix.removeprefix('.').lower()
    if kind not in kinds:
        raise RefStarError(f'-o {file}: the ending says what to write: .png, or one of {", ".join(sorted(kinds))}')
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=110)
    try:
        write_atomically(file, buffer.getvalue())
    except OSError as error:
        raise RefStarError(f'-o {file}: cannot be written: {error.strerror}') from error


def main(argv: list[str] | None = None) -> int:
    """Draws runs; returns the exit code."""
    parser = argparse.ArgumentParser('refstar plot', description=__doc__)
    parser.add_argument('runs', nargs='+', type=Path, metavar='experiments/NAME', help='folders of trainings')
    parser.add_argument('-o', '--out', type=Path, default=Path('curves.png'), metavar='FILE.png', help='the picture')
    parser.add_argument('--terms', nargs='+', metavar='NAME', help='logged values to draw (default: all losses)')
    args = parser.parse_args(argv)

    def run() -> None:
        histories = [read_run(folder) for folder in args.runs]
        save(draw(dict(zip(labels(args.runs), histories, strict=True)), args.terms), args.out)
        print(args.out)

    return run_command(run)


if __name__ == '__main__':
    sys.exit(main())
