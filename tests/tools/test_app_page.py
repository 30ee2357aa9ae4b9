"""The page of `refstar app` in a real, headless Chromium: pictures dropped, masks painted, results downloaded.

`REFSTAR_SCREENSHOT=docs/images/app.png REFSTAR_NETWORK=X.safetensors pytest tests/tools/test_app_page.py -k screenshot`
makes the picture of the docs, with synthetic people.
"""

import base64
import io
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.app_serving import FIVE, ONE, TWO, Running, file_of, restored, small_restorer, synthetic_people
from helpers.browsing import chromium, needs_chromium, small_png
from helpers.restoring import SIZE, picture
from PIL import Image

pytestmark = needs_chromium
PHOTO, REF, OTHER = picture(1, 72, ONE, 0), picture(2, SIZE, SIZE, 0), picture(3, SIZE, SIZE, 1)


@pytest.fixture(scope='module')
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope='module')
def running():
    with Running(small_restorer()) as running:
        yield running


class Page:
    """A tab that shows the page; what it loads from elsewhere and its script errors are kept."""

    def __init__(self, browser, running: Running, width: int = 1200, height: int = 760):
        self.context = browser.new_context(viewport={'width': width, 'height': height})
        self.tab = self.context.new_page()
        self.wrong: list[str] = []
        self.tab.on('pageerror', lambda error: self.wrong.append(str(error)))
        self.tab.on('request', lambda request: self._check(request.url, running.url))
        self.tab.goto(running.url)
        self.settle()

    def _check(self, url: str, ours: str) -> None:
        if not url.startswith((ours, f'blob:{ours}', 'data:')):
            self.wrong.append(url)

    def settle(self) -> None:
        """Waits until nothing is going on."""
        self.tab.wait_for_function(
            '() => document.readyState === "complete" && document.getElementById("kind").textContent'
        )
        self.tab.wait_for_selector('body:not(.busy)')
        self.tab.evaluate('() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))')

    def give(self, kind: str, *images: np.ndarray | bytes, name: str = 'a.png') -> None:
        self.offer(kind, *images, name=name)
        self.settle()

    def offer(self, kind: str, *images: np.ndarray | bytes, name: str = 'a.png') -> None:
        """The same without waiting."""
        files = [img if isinstance(img, bytes) else file_of(img) for img in images]
        self.tab.set_input_files(
            f'#give-{kind}', [{'name': name, 'mimeType': 'image/png', 'buffer': file} for file in files]
        )

    def click(self, selector: str, **more) -> None:
        self.tab.locator(selector).click(**more)
        self.settle()

    def text(self, name: str) -> str:
        return self.tab.locator(f'#{name}').inner_text()

    def arms(self) -> list[str]:
        return [figure.get_attribute('id') for figure in self.tab.locator('#arms figure').all()]

    def pixels(self, selector: str) -> np.ndarray:
        """What a canvas of a picture's own size holds."""
        code = "(canvas) => canvas.toDataURL('image/png')"
        data = base64.b64decode(self.tab.locator(selector).evaluate(code).split(',')[1])
        return np.array(Image.open(io.BytesIO(data)).convert('RGB'))

    def seen(self, selector: str) -> np.ndarray:
        """What is on the screen."""
        self.tab.mouse.move(1, 1)
        self.settle()
        shot = self.tab.locator(selector).screenshot()
        return np.array(Image.open(io.BytesIO(shot)).convert('RGB')).astype(int)

    def saved(self, button: str) -> bytes:
        with self.tab.expect_download() as download:
            self.tab.locator(button).click()
        self.name = download.value.suggested_filename
        return Path(download.value.path()).read_bytes()

    def stroke(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Paints on the mask, from and to by shares of its picture."""
        box = self.tab.locator('#mask').bounding_box()
        side = min(box['width'], box['height'])
        left, top = box['x'] + (box['width'] - side) / 2, box['y'] + (box['height'] - side) / 2
        self.tab.mouse.move(left + start[0] * side, top + start[1] * side)
        self.tab.mouse.down()
        self.tab.mouse.move(left + end[0] * side, top + end[1] * side, steps=8)
        self.tab.mouse.up()
        self.settle()


@pytest.fixture
def page(browser, running):
    page = Page(browser, running)
    yield page
    page.context.close()
    assert page.wrong == []


def test_from_photos_to_the_download(page):
    page.give('photo', PHOTO, name='old photo.jpg')
    assert page.arms() == ['arm-before', 'arm-without']
    page.give('references', REF)
    assert page.arms() == ['arm-before', 'arm-without', 'arm-with', 'arm-attribution']
    assert 'with references' in page.text('after-caption') and not page.tab.locator('#with-fidelity').is_visible()
    page.give('strangers', OTHER)
    assert page.arms() == ['arm-before', 'arm-without', 'arm-with', 'arm-stranger', 'arm-attribution']
    assert 'alike' in page.text('arm-stranger') and page.tab.locator('.thumb.used').count() == 2
    result = np.array(Image.open(io.BytesIO(page.saved('#save-picture'))))
    assert page.name == 'old photo_restored.png' and np.array_equal(result, restored(PHOTO, [REF]))
    record = json.loads(page.saved('#save-record'))
    assert record['faces'][0]['same_person'] and record['faces'][0]['references'][0]['name'] == 'a.png'

    best, without = page.pixels('#arm-with canvas'), page.pixels('#arm-without canvas')
    page.tab.locator('#strength').fill('0')
    page.settle()
    assert np.array_equal(page.pixels('#arm-with canvas'), without) and not np.array_equal(best, without)
    page.tab.locator('#strength').fill('1')
    page.settle()
    assert np.array_equal(page.pixels('#arm-with canvas'), best)
    page.tab.get_by_label('face: leave').check()
    page.settle()
    assert not np.array_equal(page.pixels('#arm-with canvas'), best)
    page.tab.reload()  # the session and what was restored are still there
    page.settle()
    assert np.array_equal(page.pixels('#arm-with canvas'), best)
    page.click('#afresh')
    assert page.arms() == [] and page.tab.locator('.thumb').count() == 0


def test_a_painted_mask_goes_to_the_network(page):
    page.give('photo', PHOTO)
    page.give('references', REF)
    own, shown = page.pixels('#arm-with canvas'), page.seen('#mask')
    page.click('#eraser')
    page.tab.locator('#size').fill('100')
    for y in np.linspace(0, 1, 8):
        page.stroke((0, y), (1, y))
    assert np.array_equal(page.pixels('#arm-with canvas'), page.pixels('#arm-without canvas'))
    assert np.abs(page.seen('#mask') - shown).max() > 30
    page.click('#undo')
    assert not np.array_equal(page.pixels('#arm-with canvas'), page.pixels('#arm-without canvas'))
    assert json.loads(page.saved('#save-record'))['faces'][0]['masks_by_hand'] == ['a.png']
    page.click('#reset')
    assert np.array_equal(page.pixels('#arm-with canvas'), own) and np.array_equal(page.seen('#mask'), shown)


def test_before_and_after(page):
    page.give('photo', PHOTO)
    page.tab.locator('#split').fill('0')
    after = page.seen('#compare')
    page.tab.locator('#split').fill('1')
    before = page.seen('#compare')
    box = page.tab.locator('#compare').bounding_box()
    page.tab.mouse.move(box['x'] + 0.3 * box['width'], box['y'] + 9)
    page.tab.mouse.down()
    page.tab.mouse.move(box['x'] + box['width'] / 2, box['y'] + 9)
    page.tab.mouse.up()
    both, middle = page.seen('#compare'), before.shape[1] // 2
    assert np.array_equal(both[:, : middle - 9], before[:, : middle - 9])
    assert np.array_equal(both[:, middle + 9 :], after[:, middle + 9 :]) and np.abs(before - after).max() > 20
    page.click('#arm-before button')
    page.tab.locator('#split').fill('0')
    differs = np.abs(page.seen('#compare') - before).max(2) > 1
    assert differs.any(0).sum() <= 8  # the line alone, which stands elsewhere


def test_the_face_and_its_references_are_chosen(page):
    page.give('photo', PHOTO)
    assert page.arms()
    page.give('photo', np.hstack([picture(1, 72, 64, 0), picture(2, 72, 64, 1)]))
    assert '2 faces' in page.text('faces') and page.arms() == []
    box = page.tab.locator('#photo').bounding_box()
    page.click('#photo', position={'x': box['width'] * 90 / TWO, 'y': box['height'] / 2})
    assert page.text('faces') == 'face 2 of 2' and page.arms() == ['arm-before', 'arm-without']
    page.give('references', np.hstack([picture(10 + i, 60, 40, (2, 0, 1, 2, 2)[i]) for i in range(5)]))
    used = page.tab.locator('#references .thumb')
    assert used.count() == 5 and ['used' in thumb.get_attribute('class') for thumb in used.all()].index(True) == 2
    page.click('#references .thumb:nth-child(4) .take')
    page.click('#references .thumb:nth-child(3) .take')
    assert 'used' in used.nth(3).get_attribute('class') and 'used' not in used.nth(2).get_attribute('class')
    assert 'likely of somebody else' in page.text('said')
    page.click('#automatic')
    assert 'used' in used.nth(2).get_attribute('class') and not page.tab.locator('#automatic').is_visible()
    page.click('#references .remove')
    assert used.count() == 0 and page.arms() == ['arm-before', 'arm-without']


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'is empty'),
        (b'text', 'is no picture'),
        (file_of(PHOTO)[:-300], 'broken picture'),
        (picture(0, 9, 9), 'no face was found'),
    ],
)
def test_bad_pictures_are_said_on_the_page(page, data, message):
    page.give('photo', data, name='x.png')
    assert message in page.text('message') and 'x.png' in page.text('message')
    assert page.tab.locator('#hint').is_visible() and not page.tab.locator('#compare').is_visible()
    page.give('photo', PHOTO)
    assert not page.tab.locator('#message').is_visible() and page.arms() and not page.tab.locator('#hint').is_visible()


def test_dropping_and_two_tabs(browser, running, page):
    other = Page(browser, running)
    for tab, img in ((page, PHOTO), (other, np.zeros((60, FIVE, 3), np.uint8))):
        data = tab.tab.evaluate_handle(
            """(bytes) => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(bytes)], 'dropped.png', { type: 'image/png' }));
              return data;
            }""",
            list(file_of(img)),
        )
        tab.tab.dispatch_event('label.drop:has(#give-photo)', 'drop', {'dataTransfer': data})
        tab.settle()
    assert '5 faces' in other.text('faces') and page.text('faces') == '' and page.arms()
    session = other.tab.evaluate('sessionStorage.session')
    other.tab.evaluate(
        "(token) => fetch('api/session', { method: 'DELETE', headers: { 'X-Session': token } })", session
    )
    other.give('references', REF)
    assert 'has ended' in other.text('message') and other.tab.evaluate('sessionStorage.session') != session
    other.context.close()
    assert other.wrong == []


def test_the_place_in_line_is_shown(browser):
    restorer, began, go = small_restorer(), threading.Event(), threading.Event()
    run = restorer.engine.run

    def slow(*args):
        began.set()
        assert go.wait(120)
        return run(*args)

    restorer.engine.run = slow
    with Running(restorer) as running:
        pages = [Page(browser, running) for _ in range(2)]
        pages[0].offer('photo', PHOTO)
        assert began.wait(60)
        pages[1].offer('photo', PHOTO)
        for page, text in zip(pages, ('working', 'in line: 1 before you'), strict=True):
            page.tab.wait_for_selector(f'#line:has-text("{text}")')
        go.set()
        for page in pages:
            page.settle()
            assert page.arms() == ['arm-before', 'arm-without'] and page.text('line') == '' and page.wrong == []
            page.context.close()


@pytest.mark.parametrize('given', [os.environ.get('REFSTAR_SCREENSHOT')])
def test_screenshot(given, browser):
    """At the size of the docs: all of the page is seen."""
    if given:
        restorer, photo, references, strangers = synthetic_people(os.environ['REFSTAR_NETWORK'])
    else:
        restorer, photo, references, strangers = small_restorer(), PHOTO, [REF], [OTHER]
    with Running(restorer) as running:
        page = Page(browser, running, 1240, 840)
        page.give('photo', photo)
        if given:
            page.click('#photo', position={'x': 60, 'y': 60})
        page.give('references', *references)
        page.give('strangers', *strangers)
        page.click('#eraser')
        page.stroke((0.3, 0.75), (0.7, 0.75))
        for selector in ('#save-picture', '#arms figure:last-child', '#reset'):
            box = page.tab.locator(selector).bounding_box()
            assert box['x'] + box['width'] < 1230 and box['y'] + box['height'] < 840
        file = small_png(page.tab.screenshot())
        page.context.close()
    assert page.wrong == [] and 10_000 < len(file) < 400_000
    if given:
        Path(given).write_bytes(file)
