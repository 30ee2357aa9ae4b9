"""Report of `refstar demo`: ``summary.json`` and a self-contained ``report.html``, made from what the steps wrote."""

import html
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path

from refstar.tools.demo_options import STAGES, TRAININGS, Step
from refstar.utils.errors import RefStarError
from refstar.utils.training_log import read_log

from .report_pictures import curves, embed, panels_of, telling_windows, window_row

SHOWN, ENLARGED = 12, 6  # photos: the first of the test set, not chosen by their looks
ARMS = ('right', 'none', 'wrong')

# What the lengths are made to reach, on identities never seen in training: (what, demo, experiment).
EXPECTED = (
    ('refsel.iou', 0.75, 0.85),
    ('PSNR right - none', 1.0, 2.0),
    ('PSNR right - backbone', 1.0, 2.0),
    ('PSNR right - wrong', 1.5, 2.5),
    ('PSNR wrong - none', -0.5, -0.3),
    ('detail right', 0.50, 0.70),
    ('detail right - none', 0.15, 0.25),
    ('detail right - wrong', 0.15, 0.25),
)

CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1400px; margin: 2rem auto; padding: 0 1.5rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem } p { max-width: 50rem }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .3rem .9rem; border-bottom: 1px solid #ddd }
td { text-align: right; font-variant-numeric: tabular-nums } td:first-child, th { text-align: left }
img { display: block; max-width: 100%; margin: .4rem 0; image-rendering: auto }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto } .no { color: #a00 } .yes { color: #060 }
figure { margin: 1rem 0 } figcaption { color: #555; font-size: 14px } svg { margin-right: 1rem }
"""


def figures(step: Step) -> dict:
    """What a test wrote: ``{'dataset', 'iter', 'images', 'arms'}``."""
    path = step.product()
    if path is None:
        raise RefStarError(f'results/{step.experiment}/metrics_*.json: not there; run the test again')
    return json.loads(path.read_text(encoding='utf-8'))


def image_row(arm: dict[str, float], source: str) -> dict[str, float | None]:
    """Figures of one arm; LPIPS needs weights that nobody has to have, so it may be null."""
    missing = [m for m in ('psnr', 'ssim', 'detail') if m not in arm]
    if missing:
        raise RefStarError(f'{source}: no {", ".join(missing)}; put it back under val.metrics')
    row = {name: finite(value) for name, value in arm.items() if name != 'lpips'}
    return {**row, 'lpips_or_null': finite(arm.get('lpips'))}


def finite(value: float | None) -> float | None:
    """JSON has no NaN: what was not measured is null."""
    return value if value is not None and math.isfinite(value) else None


def summarise(steps: dict[str, Step], seconds: dict[str, float], length: str) -> dict:
    """Content of ``summary.json``."""
    refsel, backbone, refstar = (figures(steps[f'test_{name}']) for name in TRAININGS)
    testset = next(iter(steps['test_refstar'].options['datasets'].values()))
    arms = refstar['arms']
    summary = {
        'length': length,
        'refsel': {k: finite(v) for k, v in refsel['arms']['right'].items()}
        | {f'{k}_wrong': finite(v) for k, v in refsel['arms'].get('wrong', {}).items() if v is not None},
        'refstar': {arm: image_row(arms[arm], 'test_refstar') for arm in ARMS},
        'backbone': image_row(backbone['arms']['none'], 'test_backbone'),
        'images': refstar['images'],
        'identities': testset.get('identities'),
        'seconds': seconds | {'total': round(sum(max(seconds[s] for s in stage) for stage in STAGES), 1)},
        'iterations': {name: steps[name].iterations for name in TRAININGS},
        'versions': {'python': platform.python_version()}
        | {p: version(p) for p in ('refstar', 'torch', 'torchvision', 'basicsr', 'numpy', 'opencv-python')},
    }
    return summary | {'checks': checks(summary)}


def checks(summary: dict) -> dict[str, dict]:
    """Measured against :data:`EXPECTED`: name -> value, wanted, reached."""
    right, none, wrong = (summary['refstar'][arm] for arm in ARMS)

    def gap(metric: str, a: dict, b: dict) -> float | None:
        return None if None in (a[metric], b[metric]) else a[metric] - b[metric]

    values = {
        'refsel.iou': summary['refsel'].get('iou'),
        'PSNR right - none': gap('psnr', right, none),
        'PSNR right - backbone': gap('psnr', right, summary['backbone']),
        'PSNR right - wrong': gap('psnr', right, wrong),
        'PSNR wrong - none': gap('psnr', wrong, none),
        'detail right': right['detail'],
        'detail right - none': gap('detail', right, none),
        'detail right - wrong': gap('detail', right, wrong),
    }
    wanted = {name: row[summary['length'] == 'experiment'] for name, *row in EXPECTED}
    return {
        name: {'value': value, 'wanted': wanted[name], 'reached': value is not None and value >= wanted[name]}
        for name, value in values.items()
    }


def number(value: float | None) -> str:
    """For people; a value that was not measured is a dash."""
    return '–' if value is None else f'{value:.3f}' if abs(value) < 10 else f'{value:.2f}'


def table(head: list[str], rows: list[list[str]]) -> str:
    """HTML table of cells that are HTML already."""
    lines = [f'<tr>{"".join(f"<th>{h}</th>" for h in head)}</tr>']
    lines += [f'<tr>{"".join(f"<td>{c}</td>" for c in row)}</tr>' for row in rows]
    return f'<table>{"".join(lines)}</table>'


def strips(step: Step) -> list[Path]:
    """The first pictures of a test."""
    return sorted(Path('results', step.experiment, 'visualization').glob('*_arms/*.png'))[:SHOWN]


def figure(picture: str, caption: str) -> str:
    return f'<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>'


def arms_section(summary: dict) -> str:
    names = {'right': 'RefSTAR, the person’s own reference', 'none': 'RefSTAR, no reference'}
    names |= {'wrong': 'RefSTAR, somebody else’s reference'}
    rows = {names[arm]: summary['refstar'][arm] for arm in ARMS}
    rows |= {'the backbone alone, trained as long without references': summary['backbone']}
    metrics = list(summary['refstar']['right'])
    head = ['', *(m.removesuffix('_or_null') for m in metrics)]
    return table(head, [[name, *(number(row.get(m)) for m in metrics)] for name, row in rows.items()])


def checks_section(summary: dict) -> str:
    rows = [
        [
            name,
            number(c['value']),
            f'≥ {c["wanted"]}',
            '<span class="yes">yes</span>' if c['reached'] else '<span class="no">no</span>',
        ]
        for name, c in summary['checks'].items()
    ]
    return table(['', 'measured', 'made to reach', 'reached'], rows)


def pictures_section(steps: dict[str, Step]) -> str:
    pictures = strips(steps['test_refstar'])
    rows = []
    for path in pictures[:ENLARGED]:
        panels = panels_of(path)
        rows += [figure(window_row(panels, window), path.stem) for window in telling_windows(panels['GT'])]
    return (
        '<h2>The same places, enlarged</h2><p>For every photo the two windows of the face where the ground truth has '
        'most fine detail (eyes, moles, freckles): chosen by the ground truth alone.</p>'
        + ''.join(rows)
        + '<h2>Whole photos</h2><p>The first of the test set. Green in a reference: what RefSel lets through.</p>'
        + ''.join(figure(embed(path), path.stem) for path in pictures)
    )


def write_report(steps: list[Step], seconds: dict[str, float], length: str, out: Path) -> str:
    """Writes ``summary.json`` and ``report.html`` into ``out``; returns a short text for the terminal."""
    by_name = {step.name: step for step in steps}
    summary = summarise(by_name, seconds, length)
    (out / 'summary.json').write_text(json.dumps(summary, indent=2), encoding='utf-8')
    trainings = [by_name[name] for name in TRAININGS]
    charts = ''.join(curves(step.name, read_log(out / 'logs' / f'{step.name}.log')) for step in trainings)
    commands = '\n'.join(f'basicsr {step.command} -opt {step.file.as_posix()}' for step in steps)
    times = [[name, f'{s:.0f} s'] for name, s in summary['seconds'].items()]
    refsel = [[name, number(value)] for name, value in summary['refsel'].items()]
    body = [
        f'<h1>RefSTAR: {length}</h1>',
        f'<p>{summary["images"]} photos of {summary["identities"]} synthetic people who were not in the training, '
        'degraded until moles, freckles and irises are gone. RefSTAR restores each of them three times: with another '
        'photo of the same person, with none, and with a photo of somebody else. What the reference is worth is the '
        'difference between the rows; that it is the <em>right</em> person’s detail, and not just any, shows in '
        '<em>detail</em>: the correlation with the ground truth of what is finer than the degraded photo can show, '
        'inside the region that the reference shows too.</p>',
        arms_section(summary),
        checks_section(summary),
        pictures_section(by_name),
        '<h2>RefSel: what may be taken from a reference</h2><p>IoU with the exact selection. “wrong”: references of '
        'somebody else, of whom nothing should be selected.</p>',
        table(['', ''], refsel),
        *(figure(embed(path), path.stem) for path in strips(by_name['test_refsel'])[:ENLARGED]),
        '<h2>Training</h2>',
        charts,
        table(['step', 'time'], times),
        f'<h2>Run a step again</h2><p>In the folder where the {length} ran; <code>--auto_resume</code> goes on with a '
        f'training.</p><pre>{html.escape(commands)}</pre>',
        table(['', ''], [[name, html.escape(v)] for name, v in summary['versions'].items()]),
    ]
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>RefSTAR {length}</title><style>{CSS}</style>'
    (out / 'report.html').write_text(page + '\n'.join(body) + '</html>', encoding='utf-8')
    return terminal_text(summary, out)


def terminal_text(summary: dict, out: Path) -> str:
    """The figures in a few lines."""
    rows = {f'RefSTAR, {arm}': summary['refstar'][arm] for arm in ARMS} | {'backbone': summary['backbone']}
    lines = [f'{"":<16}{"PSNR":>8}{"SSIM":>8}{"detail":>8}']
    lines += [
        f'{name:<16}' + ''.join(f'{number(row[m]):>8}' for m in ('psnr', 'ssim', 'detail'))
        for name, row in rows.items()
    ]
    reached = [c['reached'] for c in summary['checks'].values()]
    lines += [
        f'RefSel IoU {number(summary["refsel"].get("iou"))}; {sum(reached)} of {len(reached)} expectations reached'
    ]
    return '\n'.join([*lines, f'{out / "summary.json"}', f'{out / "report.html"}'])
