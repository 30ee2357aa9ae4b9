"""What the tests of the local pages share: a headless Chromium, a page as a process."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import runs

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking']


@contextmanager
def chromium() -> Iterator:
    """A headless browser; the test is skipped where there is none."""
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    if CHROMIUM is None:
        pytest.skip('no Chromium on this machine')
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def tab_of(browser, url: str, width: int = 1240, height: int = 800) -> Iterator:
    """A tab that shows a page; it must load nothing from elsewhere and have no script error."""
    context = browser.new_context(viewport={'width': width, 'height': height})
    tab, wrong = context.new_page(), []
    tab.on('pageerror', lambda error: wrong.append(str(error)))
    tab.on('request', lambda request: request.url.startswith((url, 'data:', 'blob:')) or wrong.append(request.url))
    tab.set_default_timeout(60_000)
    tab.goto(url)
    yield tab
    context.close()
    assert wrong == []


def stroke(tab, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Paint in the mask editor, from and to by shares of its canvas, and wait until the page knows it."""
    box = tab.locator('#editor canvas').first.bounding_box()
    tab.mouse.move(box['x'] + start[0] * box['width'], box['y'] + start[1] * box['height'])
    tab.mouse.down()
    tab.mouse.move(box['x'] + end[0] * box['width'], box['y'] + end[1] * box['height'], steps=8)
    tab.mouse.up()
    tab.wait_for_timeout(1000)  # the editor hands its layers over with a delay


class Command:
    """A command of `refstar` that serves a page, as a process of its own.

    Args:
        args: of `refstar`.
        temporary: folder for temporary files.
    """

    def __init__(self, *args: object, temporary: Path | None = None) -> None:
        code = 'import sys; from refstar.tools.cli import main; sys.exit(main())'
        folders = {} if temporary is None else {'TMPDIR': str(temporary)}
        self.process = subprocess.Popen(
            [sys.executable, '-c', code, *map(str, args)],
            env=runs.ENVIRONMENT | {'NO_PROXY': '*'} | folders,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ''
        while not (found := re.search(r'http://\S+:(\d+)/', self.said)):
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line
        self.url, self.port = found[0], int(found[1])

    def end(self, how: int = signal.SIGTERM) -> int:
        """End the process by a signal; returns its exit code."""
        self.process.send_signal(how)
        self.said += self.process.communicate(timeout=60)[0]
        return self.process.returncode

    def __enter__(self) -> 'Command':
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
