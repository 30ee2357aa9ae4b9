"""`refstar masks review` in a real, headless Chromium: painted, decided and undone by keys; killed and opened again."""

import shutil
import signal
from pathlib import Path

import httpx
import numpy as np
import pytest
from helpers import reviewing
from helpers.browsing import Command, chromium, stroke, tab_of
from helpers.reviewing import column, pixels

from refstar.tools.cli import main

SIZE, SECRET = 96, 'a-secret-of-some-length'
A, B, C, D, E, F = (f'{number:05d}' for number in range(6))


@pytest.fixture(scope='module')
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope='module')
def collection(tmp_path_factory) -> Path:
    return reviewing.write_collection(tmp_path_factory.mktemp('collection') / 'made', SIZE)


@pytest.fixture(scope='module')
def root(collection, tmp_path_factory) -> Path:
    return shutil.copytree(collection, tmp_path_factory.mktemp('reviewed') / 'faces')


@pytest.fixture(scope='module')
def server(root):
    with Command('masks', 'review', root, '--port', '0', '--token', SECRET) as server:
        yield server


@pytest.fixture(scope='module')
def tab(browser, server):
    """A tab that asked for the password and shows the first pair; one for all tests, they go on where it stands."""
    with tab_of(browser, server.url) as tab:
        tab.locator('input').first.fill('refstar')
        tab.locator('input[type=password]').fill(SECRET)
        tab.locator('button').first.click()
        shown(tab, A)
        yield tab


def shown(tab, name: str) -> None:
    """Wait until a pair is shown, and its mask painted in the editor."""
    tab.wait_for_selector(f'#name:text-is("{name}")')
    tab.wait_for_timeout(700)


def press(tab, key: str, then: str) -> None:
    """Press a key and wait for the pair that is shown then."""
    tab.keyboard.press(key)
    shown(tab, then)


def name_of(tab) -> str:
    return tab.locator('#name').inner_text()


def provenance(root: Path, name: str) -> str:
    return column(root, 'provenance')[int(name)]


def test_decision_is_on_disk_before_the_next_pair(tab, root):
    press(tab, 'r', then=B)
    assert provenance(root, A) == 'rejected'


def test_undo_goes_back_to_the_pair(tab, root):
    first = name_of(tab)
    press(tab, 'r', then=f'{int(first) + 1:05d}')
    press(tab, 'u', then=first)
    assert provenance(root, first) in ('proposed', 'propagated')


def test_painted_mask_is_accepted_as_edited(tab, root):
    name, before = name_of(tab), pixels(root, name_of(tab))
    tab.keyboard.press('e')
    stroke(tab, (0.3, 0.6), (0.7, 0.6))
    tab.keyboard.press('a')
    tab.wait_for_function(f'document.querySelector("#name").innerText !== "{name}"')
    changed = pixels(root, name) != before
    assert provenance(root, name) == 'edited' and 0 < changed.sum() < changed.size / 2
    assert (pixels(root, name)[changed] == 0).all()


def test_unpainted_mask_is_accepted_bit_for_bit(tab, root):
    name = name_of(tab)
    before = (root / f'mask/{name}.png').read_bytes()
    tab.keyboard.press('a')
    tab.wait_for_function(f'document.querySelector("#name").innerText !== "{name}"')
    assert provenance(root, name) == 'accepted' and (root / f'mask/{name}.png').read_bytes() == before


def test_pair_is_not_left_with_unsaved_strokes(tab):
    name = name_of(tab)
    stroke(tab, (0.3, 0.2), (0.7, 0.2))
    tab.keyboard.press('n')
    tab.wait_for_selector('.toast-body:has-text("not saved")')
    assert name_of(tab) == name


def test_dropped_strokes_let_the_pair_go(tab):
    name = name_of(tab)
    stroke(tab, (0.3, 0.2), (0.7, 0.2))
    tab.keyboard.press('x')
    for _ in range(10):  # the editor hands its layers over with a delay
        tab.keyboard.press('n')
        for _ in range(10):
            tab.wait_for_timeout(500)
            if name_of(tab) != name:
                return
    pytest.fail('the strokes were not dropped')


def test_filter_shows_reviewed_pairs(tab):
    tab.get_by_label('reviewed', exact=True).check()
    tab.wait_for_selector('#state:text-is("rejected")')
    assert name_of(tab) == A


def test_kill_9_loses_no_decision(collection, tmp_path, browser):
    root = shutil.copytree(collection, tmp_path / 'faces')
    with Command('masks', 'review', root, '--port', '0') as server, tab_of(browser, server.url) as tab:
        shown(tab, A)
        stroke(tab, (0.3, 0.2), (0.7, 0.2))
        press(tab, 'a', then=B)
        press(tab, 'r', then=C)
        server.end(signal.SIGKILL)
    painted = pixels(root, A)
    with Command('masks', 'review', root, '--port', '0') as server:
        assert server.end() == 0
    assert column(root, 'provenance')[:3] == ['edited', 'rejected', 'propagated']
    assert np.array_equal(pixels(root, A), painted) and '1 edited, 1 rejected' in server.said


def test_without_the_password_nothing_is_shown(server):
    assert httpx.get(f'{server.url}config').status_code == 401


def test_request_for_another_name_is_refused(server):
    assert httpx.get(server.url, headers={'Host': 'evil.example'}).status_code == 400


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--host', '192.0.2.7'], 'add --token'),
        (['--host', '0.0.0.0', '--token'], 'one address'),
        (['--port', '70000'], 'cannot listen'),
        (['--host', '192.0.2.7', '--token'], 'cannot listen'),
    ],
)
def test_wrong_arguments_end_in_one_line(collection, args, message, capsys):
    assert main(['masks', 'review', str(collection), *args]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
