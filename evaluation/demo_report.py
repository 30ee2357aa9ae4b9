"""Report of `refstar demo`: `summary.json` and a self-contained `report.html`, made from what the steps wrote."""

import json
import math
import platform
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from refstar.data.images import decode
from refstar.models.pictures import CAPTION, strip
from refstar.utils.errors import RefStarError
from refstar.utils.html_report import data_uri, number, write_report
from refstar.utils.training_log import read_run

from .demo_steps import STAGES, TRAININGS, Step
from .training_curves import draw, encode

SHOWN, ENLARGED = 12, 6  # photos: the first of the test set, not chosen by their looks
WINDOW, WINDOW_PIXELS = 0.34, 240  # side of an enlarged window, of the face's side and in the report
FACE = (0.3, 0.38)  # half axes of the ellipse around the middle where windows are looked for, of the side
METRICS = ('psnr', 'ssim', 'detail')
PACKAGES = ('refstar', 'torch', 'torchvision', 'basicsr', 'numpy', 'opencv-python')
ARMS = {
    'right': 'RefSTAR, a reference of the same person',
    'none': 'RefSTAR, no reference',
    'wrong': 'RefSTAR, a reference of another person',
}
# Figures on identities never seen in training: name -> (row, metric, row that is subtracted, wanted of the demo, wanted
# of the experiment).
EXPECTED = {
    'refsel.iou': ('refsel', 'iou', None, 0.75, 0.85),
    'PSNR right - none': ('right', 'psnr', 'none', 1.0, 2.0),
    'PSNR right - backbone': ('right', 'psnr', 'backbone', 1.0, 2.0),
    'PSNR right - wrong': ('right', 'psnr', 'wrong', 1.5, 2.5),
    'PSNR wrong - none': ('wrong', 'psnr', 'none', -0.5, -0.3),
    'detail right': ('right', 'detail', None, 0.50, 0.70),
    'detail right - none': ('right', 'detail', 'none', 0.15, 0.25),
    'detail right - wrong': ('right', 'detail', 'wrong', 0.15, 0.25),
}


def read_figures(step: Step) -> dict:
    """Return what a test wrote: ``{'dataset', 'iter', 'images', 'arms'}``; a figure that was not measured is None."""
    path = step.product()
    if path is None:
        raise RefStarError(f'results/{step.experiment}/metrics_*.json: not there; run the test again')
    figures = json.loads(path.read_text(encoding='utf-8'))
    for row in figures['arms'].values():
        row.update({name: value if value is not None and math.isfinite(value) else None for name, value in row.items()})
    return figures


def image_row(row: dict, step: Step) -> dict:
    """Return the figures of one arm; LPIPS needs weights that not everybody has, so it may be None."""
    if missing := [metric for metric in METRICS if metric not in row]:
        raise RefStarError(f'{step.file}: no {", ".join(missing)}; put it back under val.metrics')
    return {name: value for name, value in row.items() if name != 'lpips'} | {'lpips_or_null': row.get('lpips')}


def summarise(steps: dict[str, Step], seconds: dict[str, float], length: str) -> dict:
    """Return the content of `summary.json`."""
    tests = {name: steps[f'test_{name}'] for name in TRAININGS}
    figures = {name: read_figures(step) for name, step in tests.items()}
    selection, restored = figures['refsel']['arms'], figures['refstar']['arms']
    wrong = {f'{k}_wrong': v for k, v in selection.get('wrong', {}).items() if v is not None}
    summary = {
        'length': length,
        'refsel': selection['right'] | wrong,
        'refstar': {arm: image_row(restored[arm], tests['refstar']) for arm in ARMS},
        'backbone': image_row(figures['backbone']['arms']['none'], tests['backbone']),
        'images': figures['refstar']['images'],
        'identities': next(iter(tests['refstar'].options['datasets'].values())).get('identities'),
        'seconds': seconds | {'total': round(sum(max(seconds[name] for name in stage) for stage in STAGES), 1)},
        'iterations': {name: steps[name].iterations for name in TRAININGS},
        'versions': {'python': platform.python_version()} | {package: version(package) for package in PACKAGES},
    }
    return summary | {'checks': check(summary)}


def check(summary: dict) -> dict[str, dict]:
    """Compare with :data:`EXPECTED`: name -> value, wanted, reached."""
    rows = {**summary['refstar'], 'refsel': summary['refsel'], 'backbone': summary['backbone']}
    checks = {}
    for name, (row, metric, minus, *wanted) in EXPECTED.items():
        terms = [rows[r].get(metric) for r in (row, minus) if r]
        value = None if None in terms else terms[0] - sum(terms[1:])
        least = wanted[summary['length'] == 'experiment']
        checks[name] = {'value': value, 'wanted': least, 'reached': value is not None and value >= least}
    return checks


def detailed_windows(gt: np.ndarray, count: int = 2) -> list[tuple[slice, slice]]:
    """Return the windows (rows, columns) of the face that hold most fine detail and do not overlap."""
    size = gt.shape[0]
    side = round(WINDOW * size)
    grey = gt.astype(np.float32).mean(2)
    energy = (grey - cv2.GaussianBlur(grey, (0, 0), size / 40)) ** 2
    y, x = np.mgrid[:size, :size] / size - 0.5
    energy[(x / FACE[0]) ** 2 + (y / FACE[1]) ** 2 > 1] = 0
    score = cv2.boxFilter(energy, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    windows = []
    for _ in range(count):
        middle = np.unravel_index(score.argmax(), score.shape)
        score[tuple(slice(max(0, at - side), at + side) for at in middle)] = -1
        starts = [int(np.clip(at - side // 2, 0, size - side)) for at in middle]
        windows.append(tuple(slice(start, start + side) for start in starts))
    return windows


def enlarge(path: Path) -> list[np.ndarray]:
    """Cut the windows of most detail out of all panels of a strip of RefSTARModel (LQ ... right, none, wrong, GT)."""
    picture = decode(path, 'RGB')[..., ::-1]
    side = picture.shape[0] - CAPTION
    columns = [picture[CAPTION:, i : i + side] for i in range(0, picture.shape[1] - side + 1, side)]
    panels = {'LQ': columns[0], **dict(zip((*ARMS, 'GT'), columns[-4:], strict=True))}
    size = (WINDOW_PIXELS, WINDOW_PIXELS)
    return [
        strip([(name, cv2.resize(img[window], size, interpolation=cv2.INTER_CUBIC)) for name, img in panels.items()])
        for window in detailed_windows(panels['GT'])
    ]


def write_demo_report(steps: list[Step], seconds: dict[str, float], length: str, out: Path) -> str:
    """Write `summary.json` and `report.html` into ``out``; return the figures as text for the terminal."""
    by_name = {step.name: step for step in steps}
    summary = summarise(by_name, seconds, length)
    (out / 'summary.json').write_text(json.dumps(summary, indent=2), encoding='utf-8')

    def pictures(test: str) -> list[Path]:
        folder = Path('results', by_name[test].experiment, 'visualization')
        return sorted(folder.glob('*_arms/*.png'))[:SHOWN]

    def embed(paths: list[Path]) -> list[tuple[str, str]]:
        return [(data_uri(path.read_bytes(), '.png'), path.stem) for path in paths]

    strips = pictures('test_refstar')
    enlarged = [(data_uri(row, '.png'), path.stem) for path in strips[:ENLARGED] for row in enlarge(path)]
    trainings = {name: read_run(Path('experiments', by_name[name].experiment)) for name in TRAININGS}
    content = {
        'title': f'RefSTAR: {length}',
        'summary': summary,
        'rows': [(text, summary['refstar'][arm]) for arm, text in ARMS.items()]
        + [('the backbone alone, trained as long without references', summary['backbone'])],
        'enlarged': enlarged,
        'whole': embed(strips),
        'selections': embed(pictures('test_refsel')[:ENLARGED]),
        'curves': data_uri(encode(draw(trainings), 'svg'), '.svg'),
        'commands': [f'basicsr {step.command} -opt {step.file.as_posix()}' for step in steps],
    }
    write_report(out / 'report.html', 'demo.html', **content)
    return terminal_text(summary, out)


def terminal_text(summary: dict, out: Path) -> str:
    """Return the figures in a few lines."""
    rows = {f'RefSTAR, {arm}': summary['refstar'][arm] for arm in ARMS} | {'backbone': summary['backbone']}
    lines = [' ' * 16 + ''.join(f'{metric:>8}' for metric in METRICS)]
    lines += [f'{name:<16}' + ''.join(f'{number(row[m]):>8}' for m in METRICS) for name, row in rows.items()]
    reached = [c['reached'] for c in summary['checks'].values()]
    lines.append(f'RefSel IoU {number(summary["refsel"].get("iou"))}; {sum(reached)} of {len(reached)} figures reached')
    return '\n'.join([*lines, f'{out / "summary.json"}', f'{out / "report.html"}'])
