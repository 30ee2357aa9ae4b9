"""Tables in Markdown that benchmarks print: titles and digits of metrics, differences with their 95 % intervals."""

from collections.abc import Mapping, Sequence

import numpy as np

from refstar.evaluation.bootstrap import Interval, bootstrap

ARMS = ('right', 'none', 'wrong')
TITLES = {'psnr': 'PSNR ↑', 'ssim': 'SSIM ↑', 'lpips': 'LPIPS ↓', 'detail': 'detail ↑', 'detail_energy': 'energy'}
TITLES |= {'id_gt': 'ID-GT ↑', 'id_ref': 'ID-Ref', 'id_wrong': 'ID-wrong', 'copied': 'copied'}

Photos = Mapping[str, Mapping[str, float]]  # photo -> metric -> value; photos are named `<person>_<number>`


def digits(metric: str) -> int:
    """Return how many digits a metric is printed with."""
    return 2 if metric in ('psnr', 'detail_energy') else 3


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, and an empty one."""
    return ['| ' + ' | '.join(row) + ' |' for row in [header, ['---'] * len(header), *rows]] + ['']


def signed(metric: str, interval: Interval) -> str:
    """Format a difference in a metric with its interval."""
    return '{:+.{d}f} [{:+.{d}f}, {:+.{d}f}]'.format(*interval[:3], d=digits(metric))


def mean(photos: Photos, metric: str) -> str:
    """Format the mean of a metric over photos; those that were not measured (NaN) do not count."""
    return f'{np.nanmean([row[metric] for row in photos.values()]):.{digits(metric)}f}'


def difference(a: Sequence[Photos], b: Sequence[Photos], metrics: Sequence[str]) -> list[str]:
    """Format the mean difference a - b of the same photos in some metrics, with intervals over people.

    Args:
        a, b: the photos of each seed, whose differences are averaged.
    """
    names = sorted(a[0])
    seeds = [[[x[name][m] - y[name][m] for m in metrics] for name in names] for x, y in zip(a, b, strict=True)]
    found = bootstrap(np.mean(seeds, 0), [name.rpartition('_')[0] for name in names])
    return [signed(m, interval) for m, interval in zip(metrics, found, strict=True)]
