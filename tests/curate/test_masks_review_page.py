"""The page of `refstar masks review` in a real, headless Chromium: drawn, decided and undone as a person does.

`REFSTAR_SCREENSHOT=docs/images/masks_review.png pytest tests/curate/test_masks_review_page.py -k screenshot` makes
the picture of the docs.
"""

import io
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers import reviewing, runs
from helpers.browsing import chromium, needs_chromium, small_png
from helpers.reviewing import Server, pixels, provenance
from PIL import Image

pytestmark = needs_chromium
SIZE = 96
A, B, C, D, E, F = (f'{number:05d}' for number in range(6))
SHOWN = 'body:not(.busy) #name:not(:empty)'


@pytest.fixture(scope='module')
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope='module')
def collection(tmp_path_factory) -> Path:
    return reviewing.write_collection(tmp_path_factory.mktemp('collection') / 'made', SIZE)


@pytest.fixture
def root(collection, tmp_path) -> Path:
    return shutil.copytree(collection, tmp_path / 'faces')


@pytest.fixture
def server(root):
    with Server(root) as server:
        yield server


class Page:
    """A tab that shows the review; what it loads from elsewhere and its script errors are kept."""

    def __init__(self, browser, server: Server, width: int = 1100, height: int = 620):
        self.tab = browser.new_page(viewport={'width': width, 'height': height})
        self.wrong: list[str] = []
        self.tab.on('pageerror', lambda error: self.wrong.append(str(error)))
        self.tab.on('request', lambda request: self._check(request.url, server.url))
        self.tab.goto(server.url)
        self.tab.wait_for_selector(SHOWN)

    def _check(self, url: str, ours: str) -> None:
        if not url.startswith((ours, 'data:')):
            self.wrong.append(url)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)
            self.tab.wait_for_selector(SHOWN)

    def text(self, name: str) -> str:
        return self.tab.locator(f'#{name}').inner_text()

    def canvas(self, name: str) -> np.ndarray:
        """What a canvas shows, without the brush."""
        self.tab.mouse.move(1, 1)
        self.drawn()
        return np.array(Image.open(io.BytesIO(self.tab.locator(f'#{name}').screenshot())).convert('RGB')).astype(int)

    def drawn(self) -> None:
        """Waits until the page has drawn what it was told."""
        self.tab.evaluate('() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))')

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the reference lies on the screen."""
        box = self.tab.locator('#ref').bounding_box()
        scale = min(box['width'], box['height']) / SIZE
        left, top = box['x'] + (box['width'] - scale * SIZE) / 2, box['y'] + (box['height'] - scale * SIZE) / 2
        return left + x * scale, top + y * scale

    def draw(self, start: tuple[float, float], end: tuple[float, float], button: str = 'left') -> None:
        self.tab.mouse.move(*self.point(*start))
        self.tab.mouse.down(button=button)
        self.tab.mouse.move(*self.point(*end), steps=6)
        self.tab.mouse.up(button=button)


@pytest.fixture
def open_page(browser, server):
    pages = []

    def open_one(**size) -> Page:
        pages.append(Page(browser, server, **size))
        return pages[-1]

    yield open_one
    for page in pages:
        page.tab.close()
        assert page.wrong == []


def stroke(start: tuple[float, float], end: tuple[float, float], size: float) -> np.ndarray:
    """The pixels that lie surely within a stroke, and those that may."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    direction = np.subtract(end, start)
    along = np.clip(((x - start[0]) * direction[0] + (y - start[1]) * direction[1]) / (direction @ direction), 0, 1)
    distance = np.hypot(x - start[0] - along * direction[0], y - start[1] - along * direction[1])
    return distance <= size / 2 - 0.7, distance <= size / 2 + 0.7


def test_draw_accept_undo(root, open_page) -> None:
    page, proposed = open_page(), pixels(root, A)
    assert page.text('name') == A and page.text('counts') == '0 of 6 reviewed' and page.text('place') == '1 of 6'
    start, end, size = (20, 80), (75, 88), 24
    page.press('e')
    page.draw(start, end)
    page.press('b')
    page.draw((10, 10), (40, 10))
    page.draw((48, 10), (80, 12), button='right')
    page.press('a')
    assert page.text('name') == B and page.text('counts') == '1 of 6 reviewed'
    edited = pixels(root, A)
    surely, maybe = stroke(start, end, size)
    assert (edited[surely] == 0).all() and (proposed[surely] == 255).any()
    added, maybe_added = stroke((10, 10), (40, 10), size)
    erased, maybe_erased = stroke((48, 10), (80, 12), size)
    assert (edited[added & ~maybe_erased] == 255).all() and (edited[erased] == 0).all()
    untouched = ~(maybe | maybe_added | maybe_erased)
    assert np.array_equal(edited[untouched], proposed[untouched])
    assert (root / f'mask/{A}.png').read_bytes()[24:26] == bytes([8, 0])  # 8 bits, grey

    for _ in range(3):
        page.tab.keyboard.down('a')  # held: it decides once
        page.tab.wait_for_selector(SHOWN)
    page.tab.keyboard.up('a')
    page.press('r')
    assert page.text('name') == D and page.text('counts') == '3 of 6 reviewed'
    page.press('u')
    assert page.text('name') == C and 'Taken back' in page.text('message') and page.text('state') == 'propagated'
    page.press('u', 'u')
    assert page.text('name') == A and page.text('counts') == '0 of 6 reviewed'
    assert np.array_equal(pixels(root, A), proposed)
    actions = [
        line.split('"action": "')[1].split('"')[0] for line in (root / 'decisions.jsonl').read_text().splitlines()
    ]
    assert actions == ['accept', 'accept', 'reject', 'undo', 'undo', 'undo']


def test_strokes_are_undone_dropped_and_never_left_behind(root, open_page) -> None:
    page, before = open_page(), runs.files_under(root)
    shown = page.canvas('ref')
    page.draw((10, 10), (80, 10))
    page.draw((10, 90), (80, 90), button='right')
    assert np.abs(page.canvas('ref') - shown).max() > 50
    for key in ('n', 'p', 'ArrowRight', 'u'):
        page.press(key)
        assert page.text('name') == A and 'not saved' in page.text('message')
    page.press('z', 'Control+z')
    assert np.array_equal(page.canvas('ref'), shown)
    page.draw((10, 10), (80, 10))
    page.press('x', 'n')
    assert page.text('name') == B and runs.files_under(root) == before
    page.draw((10, 10), (80, 10))
    page.press('z', 'a')
    assert 'accepted' in (root / 'decisions.jsonl').read_text()  # nothing remained of the stroke: not edited


def test_two_tabs_cannot_overwrite_each_other(root, open_page) -> None:
    one, two = open_page(), open_page()
    one.draw((10, 10), (80, 10))
    one.press('a')
    drawn = pixels(root, A)
    two.draw((10, 90), (80, 90), button='right')
    two.press('a')
    assert two.text('name') == A and 'decided or changed elsewhere' in two.text('message')
    assert two.text('state') == 'edited' and np.array_equal(pixels(root, A), drawn)
    two.press('r')  # seen now: a decision of its own
    assert two.text('name') == B
    one.press('u')
    assert 'decided again elsewhere' in one.text('message') and one.text('state') == 'rejected'
    assert len((root / 'decisions.jsonl').read_text().splitlines()) == 2


def test_a_killed_server_is_said_and_nothing_is_lost(root, server, open_page) -> None:
    page = open_page()
    page.press('a')
    page.draw((10, 10), (80, 10))
    server.end(signal.SIGKILL)
    page.press('a')
    assert page.text('name') == B and 'does not answer' in page.text('message')
    with Server(root, server.port):
        page.press('a')  # the strokes are still there
        assert page.text('name') == C and page.text('counts') == '2 of 6 reviewed'
    assert provenance(root)[0] == 'accepted' and (pixels(root, B)[10, 12:78] == 255).all()


def test_filters_order_and_going_back(root, open_page) -> None:
    page = open_page()
    page.press('n', 'ArrowRight', 'p')
    assert page.text('name') == B
    page.press('p', 'p')
    assert page.text('name') == F  # around the end
    page.tab.select_option('#order', 'high')
    page.tab.fill('#low', '0.55')
    page.tab.locator('#low').press('Enter')
    page.tab.wait_for_selector(SHOWN)
    page.tab.get_by_label('propagated').uncheck()  # of C, D, E, F remain D and F
    page.tab.wait_for_selector(SHOWN)
    assert page.text('place') == '1 of 2' and page.text('name') == F
    page.press('n', 'r')
    assert page.text('name') == F and page.text('place') == '1 of 1'
    page.tab.reload()  # filters and the pair stay
    page.tab.wait_for_selector(SHOWN)
    assert page.text('name') == F and page.text('place') == '1 of 1'
    page.press('l')
    assert page.text('name') == D
    page.press('n', 'a')
    assert 'No other pair' in page.text('message') and page.text('state') == 'accepted'
    page.tab.get_by_label('reviewed', exact=True).check()
    page.tab.wait_for_selector(SHOWN)
    assert page.text('place') == '1 of 2'


def test_views_and_help(root, open_page) -> None:
    page = open_page()
    with_mask, photo = page.canvas('ref'), page.canvas('gt')
    page.press('m')
    reference = page.canvas('ref')
    assert np.abs(with_mask - reference).mean() > 5 and np.abs(photo - reference).mean() > 5
    page.tab.keyboard.down(' ')
    assert np.array_equal(page.canvas('ref'), photo)
    page.tab.keyboard.up(' ')
    assert np.array_equal(page.canvas('ref'), reference)
    page.press('f')
    seen = set()
    for _ in range(30):
        now = page.canvas('ref')
        seen |= {name for name, picture in (('photo', photo), ('ref', reference)) if np.array_equal(now, picture)}
        if len(seen) == 2:
            break
    assert seen == {'photo', 'ref'}
    page.press('f')
    page.tab.mouse.move(*page.point(40, 40))
    page.tab.mouse.wheel(0, -400)
    assert not np.array_equal(page.canvas('ref'), reference)
    page.press('0')
    assert np.array_equal(page.canvas('ref'), reference)
    page.press('?')
    assert page.tab.locator('#help').is_visible() and 'take back the latest decision' in page.text('help')
    page.press('a')
    assert page.text('counts') == '0 of 6 reviewed'  # the help takes the keys
    page.press('Escape', ']', ']', '[')
    assert not page.tab.locator('#help').is_visible() and page.text('size-text') == '30 px'


def test_broken_files_are_said_and_passed_over(root, open_page) -> None:
    (root / f'mask/{B}.png').write_bytes(reviewing.png(np.zeros((20, 20))))
    (root / f'gt/{C}.png').write_bytes(b'nothing')
    page = open_page()
    page.press('a')
    assert page.text('name') == B and 'can only be rejected' in page.text('message')
    page.press('a')
    assert page.text('name') == B
    page.press('r')
    assert page.text('name') == B and f'gt/{C} is no picture' in page.text('message')
    page.press('n')
    assert page.text('name') == D and page.text('counts') == '2 of 6 reviewed'


@pytest.mark.parametrize('given', [os.environ.get('REFSTAR_SCREENSHOT')])
def test_screenshot(given, browser, tmp_path) -> None:
    """At the size of the docs; small and not empty."""
    root = reviewing.write_collection(tmp_path / 'synthetic people', 512 if given else 128, 6)
    with Server(root) as server:
        page = Page(browser, server, 1200, 660)
        page.press('a', 'r', 'n', 'e')
        button = page.tab.locator('#accept').bounding_box()
        assert button['x'] + button['width'] < 1200 and button['y'] + button['height'] < 660  # all of the page is seen
        box = page.tab.locator('#ref').bounding_box()
        middle = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
        page.tab.mouse.move(middle[0] - 60, middle[1] + 70)
        page.tab.mouse.down()
        page.tab.mouse.move(middle[0] + 60, middle[1] + 90, steps=8)
        page.tab.mouse.up()
        page.drawn()
        file = small_png(page.tab.screenshot())
        page.tab.close()
    assert 30_000 < len(file) < 300_000 and Image.open(io.BytesIO(file)).size == (1200, 660)
    if given:
        Path(given).write_bytes(file)
