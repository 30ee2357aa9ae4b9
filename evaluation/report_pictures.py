"""Pictures of the report: embedded PNGs, enlarged windows, training curves as plain SVG."""

import base64
import html
import math
from pathlib import Path

import cv2
import numpy as np

from refstar.models.pictures import CAPTION, strip
from refstar.utils.errors import RefStarError
from refstar.utils.training_log import Entry

WINDOW = 0.34  # side of an enlarged window, of the face's side
ENLARGED = 240  # pixels
FACE = (0.3, 0.38)  # half axes of the ellipse around the middle where windows are looked for, of the side
COLOURS = ('#1f77b4', '#d62728', '#2ca02c', '#9467bd', '#ff7f0e', '#17becf', '#8c564b', '#7f7f7f', '#bcbd22', '#e377c2')


def to_img(picture: np.ndarray) -> str:
    """An <img> that holds the picture (uint8 BGR)."""
    data = base64.b64encode(cv2.imencode('.png', picture)[1].tobytes()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="">'


def embed(path: Path) -> str:
    """An <img> that holds a file."""
    return to_img(read(path))


def read(path: Path) -> np.ndarray:
    """uint8 BGR.

    Raises:
        RefStarError: the file is no picture.
    """
    picture = cv2.imread(str(path))
    if picture is None:
        raise RefStarError(f'{path}: no picture')
    return picture


def panels_of(path: Path) -> dict[str, np.ndarray]:
    """The square panels of a strip of RefSTARModel with all arms, by name: LQ ... right, none, wrong, GT."""
    picture = read(path)
    side = picture.shape[0] - CAPTION
    columns = [picture[CAPTION:, i : i + side] for i in range(0, picture.shape[1] - side + 1, side)]
    return {'LQ': columns[0], **dict(zip(('right', 'none', 'wrong', 'GT'), columns[-4:], strict=True))}


def telling_windows(gt: np.ndarray, count: int = 2) -> list[tuple[int, int, int]]:
    """The windows (x, y, side) of the face that hold most fine detail and do not overlap."""
    size = gt.shape[0]
    side = round(WINDOW * size)
    grey = gt.astype(np.float32).mean(2)
    energy = (grey - cv2.GaussianBlur(grey, (0, 0), size / 40)) ** 2
    y, x = np.mgrid[:size, :size] / size - 0.5
    energy[(x / FACE[0]) ** 2 + (y / FACE[1]) ** 2 > 1] = 0
    score = cv2.boxFilter(energy, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    half, windows = side // 2, []
    for _ in range(count):
        row, column = np.unravel_index(score.argmax(), score.shape)
        windows.append((int(np.clip(column - half, 0, size - side)), int(np.clip(row - half, 0, size - side)), side))
        score[max(0, row - side) : row + side, max(0, column - side) : column + side] = -1
    return windows


def window_row(panels: dict[str, np.ndarray], window: tuple[int, int, int]) -> str:
    """One window of all panels side by side, enlarged."""
    x, y, side = window
    cut = {name: panel[y : y + side, x : x + side] for name, panel in panels.items()}
    return to_img(
        strip([(name, cv2.resize(c, (ENLARGED, ENLARGED), interpolation=cv2.INTER_CUBIC)) for name, c in cut.items()])
    )


def curves(title: str, entries: list[Entry], width: int = 420, height: int = 240) -> str:
    """Losses over iterations, on a logarithmic axis, as an SVG with a legend."""
    names = sorted({name for e in entries for name, v in e.terms.items() if name.startswith('l_') and v > 0})
    points = {n: [(e.iteration, e.terms[n]) for e in entries if e.terms.get(n, 0) > 0] for n in names}
    values = [math.log10(v) for line in points.values() for _, v in line]
    if not values:
        return ''
    last = max(e.iteration for e in entries)
    low, high = math.floor(min(values)), math.ceil(max(values) + 1e-9)
    left, bottom = 46, height - 24

    def place(iteration: float, value: float) -> tuple[float, float]:
        up = (math.log10(value) - low) / max(high - low, 1)
        return left + iteration / last * (width - left - 6), bottom - up * (bottom - 26)

    parts = [f'<text x="{left}" y="14" font-weight="bold">{html.escape(title)}</text>']
    for power in range(low, high + 1):
        y = place(0, 10.0**power)[1]
        parts.append(
            f'<path d="M{left} {y:.0f}H{width - 6}" stroke="#ddd"/><text x="2" y="{y + 4:.0f}">1e{power}</text>'
        )
    parts.append(f'<text x="{width - 6}" y="{height - 6}" text-anchor="end">iteration {last}</text>')
    for i, (name, line) in enumerate(points.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = ' '.join('{:.1f},{:.1f}'.format(*place(*p)) for p in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{width + 4}" y="{32 + 15 * i}" fill="{colour}">{html.escape(name)}</text>')
    box = f'width="{width + 150}" height="{max(height, 40 + 15 * len(points))}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'
    )
