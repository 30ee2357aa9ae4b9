"""Self-contained HTML reports: Jinja2 templates of one look, with their pictures inside the page.

A report is a template in `utils/templates` that extends `base.html`. Every value is escaped. Opening a report needs no
network and no other file.
"""

import base64
import math
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .text_files import write_text

TEMPLATES = Path(__file__).with_name('templates')
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def number(value: float | None) -> str:
    """Format a figure: three decimals below ten, two above; a dash for a value that was not measured."""
    if value is None or not math.isfinite(value):
        return '–'
    return f'{value:.3f}' if abs(value) < 10 else f'{value:.2f}'


def encode_preview(picture: np.ndarray, suffix: str = '.jpg', max_side: int | None = None) -> bytes:
    """Encode uint8 (H, W, 3) BGR as '.jpg' (quality 90, full colour resolution) or '.png'; shrink it to `max_side`."""
    scale = max_side / max(picture.shape[:2]) if max_side else 1
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(suffix, picture, JPEG if suffix == '.jpg' else [])[1].tobytes()


def data_uri(picture: np.ndarray | bytes, suffix: str = '.jpg', max_side: int | None = None) -> str:
    """Return a picture as the `src` of an `<img>`; arguments as of :func:`encode_preview`, or a file's bytes."""
    data = picture if isinstance(picture, bytes) else encode_preview(picture, suffix, max_side)
    kind = {'.jpg': 'jpeg', '.png': 'png', '.svg': 'svg+xml'}[suffix]
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


@cache
def environment() -> Any:
    """Return the jinja2.Environment of all templates: values are escaped, an undefined name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {'number': number, 'data_uri': data_uri}
    return templates


def write_report(path: str | Path, template: str, **content: Any) -> None:
    """Render a template of `utils/templates` with its content (`title` at least); write the page, make its folder.

    Raises:
        RefStarError: the page cannot be written.
    """
    write_text(path, environment().get_template(template).render(content), errors='backslashreplace')
