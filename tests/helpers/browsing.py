"""What the tests of the local pages share: a headless Chromium, and screenshots small enough for the docs."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image

api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
OFF = ('gpu', 'quic', 'background-networking', 'component-update', 'sync')
FLAGS = ['--no-sandbox', '--no-first-run', *(f'--disable-{feature}' for feature in OFF)]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason='no Chromium on this machine')


@contextmanager
def chromium() -> Iterator:
    """A headless browser with a fresh user data folder."""
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


def small_png(screenshot: bytes) -> bytes:
    """A screenshot as a PNG file of 256 colours."""
    picture = Image.open(io.BytesIO(screenshot)).convert('RGB')
    palette = picture.quantize(256, method=Image.Quantize.FASTOCTREE)
    file = io.BytesIO()
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(file, 'PNG', optimize=True)
    return file.getvalue()
