"""Training curves: losses and validations of one or more runs as one matplotlib figure."""

import math
from collections.abc import Sequence
from io import BytesIO
from itertools import chain

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from refstar.utils.errors import RefStarError
from refstar.utils.training_log import History

ARMS = {'right': ('-', 'right reference'), 'none': (':', 'no reference'), 'wrong': ('--', 'wrong reference')}
COLUMNS, PANEL = 4, (4.2, 2.9)  # panels side by side, and inches of one
SMOOTHING = 40  # a smoothed point is the mean of a 40th of the run
TOTAL = 'sum of the losses of net_g'

Line = dict[int, float]  # value by iteration


def losses(history: History, terms: Sequence[str] | None = None) -> dict[str, Line]:
    """Return lines of logged values by name: the chosen terms, or all losses and their sum."""
    entries = sorted(history.entries.items())
    names = terms or list(dict.fromkeys(name for _, e in entries for name in e.terms if name.startswith('l_')))
    lines = {name: {i: e.terms[name] for i, e in entries if name in e.terms} for name in names}
    lines = {name: line for name, line in lines.items() if line}
    return lines if terms or len(lines) < 2 else {TOTAL: {i: e.loss for i, e in entries}, **lines}


def validations(history: History) -> dict[str, dict[str, Line]]:
    """Return panel (data set and metric) -> arm -> line; the arm is '' in a run without arms.

    An arm is the beginning of a metric's name (`right_psnr`: RefSTARModel, RefSelModel) or the end of a data set's name
    (`val_none`: RefSRModel and other existing models, where the right references have no ending).
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


def smooth(values: Sequence[float]) -> np.ndarray:
    """Return running means, shape (n,); the window is a 40th of the run, shorter at both ends."""
    at = np.arange(len(values))
    reach = np.minimum(len(values) // SMOOTHING // 2, np.minimum(at, at[::-1]))
    total = np.cumsum([0.0, *values])
    return (total[at + reach + 1] - total[at - reach]) / (2 * reach + 1)


def draw(runs: dict[str, History], terms: Sequence[str] | None = None) -> Figure:
    """Draw one panel per metric and per loss, all runs in each: a colour per run, a line style per arm.

    Args:
        runs: history by name.
        terms: logged values to draw; None: all losses.

    Raises:
        RefStarError: no run logged a term.
    """
    curves = {run: losses(history, terms) for run, history in runs.items()}
    scores = {run: validations(history) for run, history in runs.items()}
    for term in terms or ():
        if not any(term in lines for lines in curves.values()):
            known = sorted({name for history in runs.values() for e in history.entries.values() for name in e.terms})
            raise RefStarError(f'--terms {term}: not in these logs; they have {", ".join(known)}')
    titles, logged = [*dict.fromkeys(chain(*scores.values()))], dict.fromkeys(chain(*curves.values()))
    titles += logged
    rows, columns = math.ceil(len(titles) / COLUMNS), min(COLUMNS, len(titles))
    figure = Figure((PANEL[0] * max(columns, 2), PANEL[1] * rows + 0.6), layout='constrained')
    panels = dict(zip(titles, figure.subplots(rows, columns, squeeze=False).flat, strict=False))
    for axis in figure.axes[len(titles) :]:
        axis.remove()
    colours = {run: f'C{i % 10}' for i, run in enumerate(runs)}
    for run, colour in colours.items():
        for title, lines in scores[run].items():
            for arm, line in lines.items():
                style = ARMS[arm][0] if arm else '-'
                panels[title].plot([*line], [*line.values()], style, color=colour, marker='.', ms=4, lw=1.4)
        for title, line in curves[run].items():
            panels[title].plot([*line], [*line.values()], color=colour, lw=0.7, alpha=0.3)
            panels[title].plot([*line], smooth([*line.values()]), color=colour, lw=1.4)
    for title in logged:
        if min(value for lines in curves.values() for value in lines.get(title, {}).values()) > 0:
            panels[title].set_yscale('log')
    for title, axis in panels.items():
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    drawn = {arm for panels_of_run in scores.values() for lines in panels_of_run.values() for arm in lines}
    handles = [Line2D([], [], color=colour, label=run) for run, colour in colours.items()]
    handles += [
        Line2D([], [], color='0.3', ls=style, label=text) for arm, (style, text) in ARMS.items() if arm in drawn
    ]
    figure.legend(handles=handles, loc='outside upper center', ncols=min(len(handles), 5), fontsize=9, frameon=False)
    figure.supxlabel('iteration', fontsize=9)
    return figure


def encode(figure: Figure, kind: str = 'png') -> bytes:
    """Return a figure as the bytes of a file of that kind, e.g. 'png', 'svg', 'pdf'."""
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=110)
    return buffer.getvalue()
