"""Tables and plots of benchmarks/ablation.py."""

import statistics
from pathlib import Path

from tables import ARMS, TITLES, digits, table
from trainings import write_between

BEGIN, END = '<!-- ablation: written by benchmarks/ablation.py -->', '<!-- /ablation -->'
METRICS = ('psnr', 'ssim', 'lpips', 'detail', 'detail_energy', 'id_gt', 'id_ref')
COLUMNS = (('psnr', 'ssim', 'lpips'), ('detail', 'id_gt', 'id_ref', 'copied'))
BARE = 'no reference'


def collect(cases: list[dict[str, dict[str, dict]]]) -> dict:
    """Merge cases (row -> test set -> arm -> metric -> value) to test set -> row -> arm -> metric -> values."""
    found: dict = {}
    for rows in cases:
        for row, datasets in rows.items():
            for dataset, arms in datasets.items():
                for arm, figures in arms.items():
                    if arm == 'wrong':
                        figures['copied'] = figures['id_wrong'] - arms['none']['id_wrong']
                    cell = found.setdefault(dataset, {}).setdefault(row, {}).setdefault(arm, {})
                    for metric, value in figures.items():
                        cell.setdefault(metric, []).append(value)
    return found


def number(row: dict, arm: str, metric: str) -> str:
    values = row.get(arm, {}).get(metric)
    return f'{statistics.mean(values):.{digits(metric)}f}' if values and None not in values else '–'


def cell(row: dict, metric: str) -> str:
    """Format a metric of a row: the three arms, or what the wrong arm copied."""
    if metric == 'copied':
        return number(row, 'wrong', metric)
    return ' / '.join(number(row, arm, metric) for arm in ARMS)


def markdown(found: dict, tables: tuple[tuple[str, ...], ...] = COLUMNS) -> str:
    """Return tables for people: the mean over the seeds, and the largest half-range of the right arm under each."""
    lines = []
    for dataset, rows in found.items():
        metrics = [m for m in METRICS if any(row.get('right', {}).get(m) for row in rows.values())]
        lines += [f'**{dataset}**: right / none / wrong', '']
        for columns in tables:  # two tables, so that no line is too long
            shown = [m for m in columns if m in metrics or m == 'copied']
            values = [[name, *(cell(row, m) for m in shown)] for name, row in rows.items()]
            lines += table(['', *(TITLES[m] for m in shown)], values)
        spread = {
            m: max((max(v) - min(v)) / 2 for r in rows.values() if (v := r.get('right', {}).get(m))) for m in metrics
        }
        seeds = max(len(v) for row in rows.values() for arm in row.values() for v in arm.values())
        half = ', '.join(f'{m} {v:.3f}' for m, v in spread.items())
        lines += [f'{seeds} seeds; half of their range is at most {half}.' if seeds > 1 else 'One seed.', '']
    return '\n'.join(lines)


def plot(found: dict, folder: Path) -> list[Path]:
    """Draw one picture per test set: detail and ID-GT of every variant in the three arms, a dot per seed."""
    from matplotlib.figure import Figure

    files = []
    for dataset, rows in found.items():
        figure = Figure((11, 4.8), layout='constrained')
        for axis, metric in zip(figure.subplots(1, 2), ('detail', 'id_gt'), strict=True):
            names = list(rows)
            for shift, (arm, colour) in enumerate(zip(ARMS, ('tab:green', 'tab:grey', 'tab:red'), strict=True)):
                for y, name in enumerate(names):
                    values = rows[name].get(arm, {}).get(metric, [])
                    label = arm if name == names[-1] else None
                    axis.plot(values, [-y - 0.2 * (shift - 1)] * len(values), 'o', color=colour, ms=5, label=label)
            axis.set_yticks([-y for y in range(len(names))], names if metric == 'detail' else [''] * len(names))
            axis.set_xlabel(metric.upper().replace('_', '-'))
            axis.grid(alpha=0.3)
        figure.legend(*axis.get_legend_handles_labels(), loc='outside right upper')
        figure.suptitle(dataset)
        files.append(folder / f'ablation_{dataset}.png')
        figure.savefig(files[-1], dpi=90)
    return files


def write_docs(docs: Path, text: str, found: dict) -> None:
    """Put the tables and plots between the marks in experiments.md."""
    pictures = '\n'.join(f'![{f.stem}](images/{f.name})' for f in plot(found, docs / 'images'))
    write_between(docs / 'experiments.md', BEGIN, END, f'{text}\n{pictures}')
