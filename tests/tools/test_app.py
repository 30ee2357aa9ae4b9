"""`refstar app` in a real, headless Chromium, and by Gradio's own client: 20 users at once each get their own."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from helpers.app_serving import ONE, TWO, file_of, pixels_of, restored, served, small_restorer
from helpers.browsing import Command, chromium, stroke, tab_of
from helpers.restoring import SIZE, network_file, picture, save

from refstar.tools.cli import main

gradio_client = pytest.importorskip('gradio_client')
REF = picture(2, SIZE, SIZE, 0)


@pytest.fixture(scope='module')
def url():
    with served(small_restorer(), '--max_refs', '2', '--max_upload', '0.05') as url:
        yield url


@pytest.fixture(scope='module')
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope='module')
def tab(browser, url):
    """One tab for all tests below: a photo and a reference are given, they go on where it stands."""
    with tab_of(browser, url) as tab:
        give(tab, 'photo', np.hstack([picture(1, 72, 64, 0), picture(2, 72, 64, 1)]), name='old photo.png')
        tab.wait_for_selector('#arms img')
        give(tab, 'references', REF)
        settle(tab, '#used label')
        yield tab


def give(tab, kind: str, *images: np.ndarray | bytes, name: str = 'a.png') -> None:
    files = [img if isinstance(img, bytes) else file_of(img) for img in images]
    offered = [{'name': name, 'mimeType': 'image/png', 'buffer': file} for file in files]
    tab.set_input_files(f'#give-{kind} input[type=file]', offered)


def settle(tab, selector: str) -> None:
    """Wait until something is shown, and the pictures with it."""
    tab.wait_for_selector(selector)
    tab.wait_for_timeout(1500)


def arms(tab) -> list[str]:
    """Addresses of the small pictures: before, without, with ..."""
    return [img.get_attribute('src') for img in tab.locator('#arms img').all()]


def changed(tab, before: list[str]) -> list[str]:
    """Wait until other small pictures are shown."""
    tab.wait_for_function('(old) => document.querySelectorAll("#arms img")[2]?.src !== old', arg=before[2])
    tab.wait_for_timeout(1000)
    return arms(tab)


def saved(tab, button: str) -> tuple[str, bytes]:
    with tab.expect_download() as download:
        tab.locator(button).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


# ------------------------------------------------------------------ the page
def test_before_and_after_are_under_a_slider(tab):
    assert tab.locator('#compare img').count() == 2


def test_reference_is_shown_with_its_reason(tab):
    assert 'a.png: fits by' in tab.locator('#used').inner_text()


def test_result_is_downloaded_under_the_name_of_the_photo(tab):
    name, data = saved(tab, '#save-picture')
    assert name == 'old photo_restored.png' and pixels_of(data).shape == (72, TWO, 3)


def test_record_is_downloaded(tab):
    record = json.loads(saved(tab, '#save-record')[1])
    assert record['faces'][0]['same_person'] and record['faces'][0]['references'][0]['name'] == 'a.png'


def test_strength_changes_the_result(tab):
    before = arms(tab)
    tab.locator('#strength input[type=number]').fill('0.3')
    tab.locator('#strength input[type=number]').press('Enter')
    tab.locator('#verdict').click()
    assert changed(tab, before)[:2] == before[:2]


def test_painted_mask_changes_the_result(tab):
    before = arms(tab)
    tab.locator('#editor button[aria-label=Erase]').click()
    stroke(tab, (0.2, 0.5), (0.8, 0.5))
    tab.locator('#paint').click()
    changed(tab, before)
    assert json.loads(saved(tab, '#save-record')[1])['faces'][0]['masks_by_hand'] == ['a.png']


def test_reset_brings_the_mask_of_the_network_back(tab):
    before = arms(tab)
    tab.locator('#reset').click()
    changed(tab, before)
    assert json.loads(saved(tab, '#save-record')[1])['faces'][0]['masks_by_hand'] == []


def test_bad_picture_is_refused_in_one_line(tab):
    give(tab, 'references', REF, b'no picture', name='x.png')
    tab.wait_for_selector('.toast-body:has-text("x.png")')


def test_clicked_face_is_restored(tab):
    before = arms(tab)
    box = tab.locator('#photo img').bounding_box()
    second = {'x': box['width'] / 2 + 90 - TWO / 2, 'y': box['height'] / 2}  # a small photo is shown at its size
    tab.locator('#photo img').click(position=second)
    tab.wait_for_function('(old) => document.querySelector("#arms img").src !== old', arg=before[0])


# ------------------------------------------------------------------ many users
def client(url: str):
    return gradio_client.Client(url, verbose=False, analytics_enabled=False, httpx_kwargs={'timeout': 120})


def restored_by(client, folder: Path, photo: np.ndarray, ref: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """What a user of the page downloads."""
    settings = (strength, 0.5, True, [], [])  # fidelity, colour, use, keep
    files = [
        gradio_client.handle_file(str(save(folder / name, img))) for name, img in (('photo.png', photo), ('a.png', ref))
    ]
    client.predict(*settings, files[0], api_name='/photo')
    client.predict(*settings, files[1:], api_name='/references')
    return pixels_of(Path(client.predict(api_name='/picture')).read_bytes())


@pytest.mark.slow
def test_twenty_users_at_once_get_their_own(url, tmp_path):
    def use(number: int) -> tuple:
        photo, ref = picture(100 + number, 72, ONE, number % 3), picture(200 + number, SIZE, SIZE, number % 3)
        together.wait()
        return photo, ref, restored_by(client(url), tmp_path / f'{number}', photo, ref, 0.6)

    together = threading.Barrier(20)
    with ThreadPoolExecutor(20) as pool:
        for photo, ref, result in pool.map(use, range(20)):
            assert np.array_equal(result, restored(photo, [ref], strength=0.6))


def test_too_large_a_file_is_refused(url):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    answer = httpx.post(f'{url}gradio_api/upload', files={'files': file_of(noise)}, timeout=60)
    assert answer.status_code == 413


def test_without_a_photo_there_is_nothing_to_download(url):
    with pytest.raises(Exception, match='Nothing was restored yet'):
        client(url).predict(api_name='/picture')


# ------------------------------------------------------------------ the command
@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--max_pixels', '0'], 'a whole number of at least 1'),
        (['--minutes', 'nan'], 'a number of at least 0.01'),
        (['-n', 'absent.safetensors'], 'absent.safetensors'),
    ],
)
def test_wrong_arguments_end_in_one_line(args, message, capsys):
    assert main(['app', *args, '--port', '0']) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_uploads_are_deleted_when_old_and_all_at_the_end(tmp_path):
    temporary = tmp_path / 'tmp'
    temporary.mkdir()
    args = ('--aligned', '-n', network_file(tmp_path), '--port', '0', '--minutes', '0.1')
    with Command('app', *args, temporary=temporary) as command:
        restored_by(client(command.url), tmp_path / 'mine', picture(1, SIZE, SIZE), picture(2, SIZE, SIZE))
        end = time.monotonic() + 60
        while list(temporary.rglob('photo.png')):
            assert time.monotonic() < end
            time.sleep(0.5)
        assert list(temporary.rglob('refstar_*')) and command.end(signal.SIGTERM) == 0
    assert not list(temporary.rglob('refstar_*')) and 'Traceback' not in command.said
