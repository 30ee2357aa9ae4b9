"""`refstar app`: what it restores is what `refstar restore` restores; the command."""

import signal
import subprocess
import sys

import httpx2
import numpy as np
import pytest
from helpers import runs
from helpers.app_serving import GOOD, ONE, User, file_of, new_user, restored, small_restorer
from helpers.restoring import SIZE, network_file, picture

from refstar.tools.app import limits_of, parser
from refstar.tools.webapp.limits import Limits


@pytest.fixture
def user() -> User:
    return new_user()


# ------------------------------------------------------------------ what it does
def test_it_restores_as_the_command_does(user):
    photo, refs = picture(1, 72, ONE, 0), [picture(2, SIZE, SIZE, 0), picture(3, SIZE, SIZE, 0)]
    state = user.give('photo', photo, 'C:\\me\\old photo.png')
    assert state['photo']['name'] == 'old photo.png' and len(state['photo']['faces']) == 1
    for ref in refs:
        state = user.give('references', ref)
    assert [ref['name'] for ref in state['references']] == ['a.png', 'a.png (2)']
    assert user.ask('GET', '/api/result.png').status_code == 404
    shown = user.restore(strength=0.7, keep=['mouth'])['shown']
    assert shown['arms'] == ['without', 'with'] and set(shown['chosen']) == {'1-0', '2-0'}
    result, version = user.picture('result.png'), shown['version']
    assert np.array_equal(result, restored(photo, refs, strength=0.7, keep=['mouth']))
    before, without, best = (user.picture(f'pictures/{version}/{arm}') for arm in ('before', 'without', 'with'))
    assert len({img.tobytes() for img in (before, without, best)}) == 3
    assert user.picture(f'pictures/{version}/attribution').shape == (SIZE, SIZE, 3)
    assert np.array_equal(user.picture('pictures/reference/2-0'), refs[1])
    record = user.done('GET', '/api/record.json')
    assert record['faces'][0]['strength'] == 0.7 and record['faces'][0]['keep'] == ['mouth']
    assert {ref['name'] for ref in record['faces'][0]['references']} == {'a.png', 'a.png (2)'}
    assert record['identity_check']['network'] == 'hue' and record['input'] == 'old photo.png'
    assert user.picture('pictures/photo').shape == photo.shape

    again = user.restore(strength=0)['shown']['version']
    assert np.array_equal(user.picture(f'pictures/{again}/with'), user.picture(f'pictures/{again}/without'))
    assert np.array_equal(user.picture(f'pictures/{again}/without'), without)
    assert user.ask('GET', f'/api/pictures/{version}/with').status_code == 404  # not shown any more
    assert user.done('GET', '/api/session')['shown']['version'] == again
    user.done('DELETE', '/api/references/1')
    assert user.restore()['shown']['chosen'] == ['2-0']
    user.done('DELETE', '/api/session')
    gone = user.ask('GET', '/api/session')
    assert gone.status_code == 410 and 'has ended' in gone.json()['error']


def test_a_mask_by_hand_is_used(user):
    user.give('photo', picture(1, 72, ONE, 0))
    user.give('references', picture(2, SIZE, SIZE, 0))
    shown = user.restore()['shown']
    mask = user.picture(f'pictures/{shown["version"]}/mask/1-0')
    assert mask.shape == (SIZE, SIZE) and mask.any()
    black = np.zeros((SIZE, SIZE), np.uint8)
    assert user.done('PUT', '/api/masks/1-0', content=file_of(black))['shown']['edited'] == ['1-0']
    version = user.restore()['shown']['version']
    assert np.array_equal(user.picture(f'pictures/{version}/with'), user.picture(f'pictures/{version}/without'))
    assert np.array_equal(user.picture(f'pictures/{version}/mask/1-0'), black)
    assert user.done('GET', '/api/record.json')['faces'][0]['masks_by_hand'] == ['a.png']
    user.done('DELETE', '/api/masks/1-0')
    version = user.restore()['shown']['version']
    assert np.array_equal(user.picture(f'pictures/{version}/mask/1-0'), mask)
    for body in (b'', b'no png', file_of(black[:8]), file_of(np.dstack([black] * 3))):
        answer = user.ask('PUT', '/api/masks/1-0', content=body)
        assert answer.status_code == 400 and 'the mask' in answer.json()['error']
    assert user.ask('PUT', '/api/masks/9-9', content=file_of(black)).status_code == 404
    user.done('DELETE', '/api/references/1')
    assert user.ask('PUT', '/api/masks/1-0', content=file_of(black)).status_code == 404


def test_several_faces_each_get_their_own_person(user):
    photo = np.hstack([picture(1, 72, 64, 0), picture(2, 72, 64, 1)])
    five = np.hstack([picture(10 + i, 60, 40, (2, 0, 1, 2, 2)[i]) for i in range(5)])
    assert len(user.give('photo', photo)['photo']['faces']) == 2
    assert len(user.give('references', five, 'group.png')['references'][0]['faces']) == 5
    state = user.restore(face=0)
    assert state['shown']['chosen'] == ['1-1']  # of the five the one of this hue
    whys = [face['why'] for face in state['references'][0]['faces']]
    assert 'identity' in whys[1] and whys[0] == 'not the person of this face'
    assert user.restore(face=1)['shown']['chosen'] == ['1-2']
    result = user.picture('result.png')
    assert np.array_equal(result, restored(photo, [five]))  # both are in the photo by now
    by_hand = user.restore(face=1, chosen=['1-3'])
    assert by_hand['shown']['chosen'] == ['1-3'] and not by_hand['shown']['with']['same_person']
    assert 'used all the same' in by_hand['shown']['with']['notes'][0]
    assert 'with' not in user.restore(face=1, chosen=[])['shown']['arms']
    assert [face['face'] for face in user.done('GET', '/api/record.json')['faces']] == [0, 1]


def test_of_a_crowd_the_largest_faces_are_measured_and_no_others(monkeypatch):
    restorer, measured = small_restorer(), []
    embed = restorer.guard.embed

    def count(_, crops: list, degraded: bool) -> np.ndarray:
        measured.append(len(crops))
        return embed(crops, degraded)

    monkeypatch.setattr(type(restorer.guard), 'embed', count)
    user = new_user(restorer, Limits(faces=3))
    five = np.hstack([picture(10 + i, 60, 40, 0) for i in range(5)])
    assert len(user.give('references', five)['references'][0]['faces']) == 3
    assert len(user.give('photo', five)['photo']['faces']) == 3
    assert measured == [3]


def test_a_stranger_is_shown_beside_and_not_used(user):
    user.give('photo', picture(1, 72, ONE, 0))
    user.give('references', picture(2, SIZE, SIZE, 0))
    alone = user.restore()
    expected = user.picture('result.png')
    user.give('strangers', picture(3, SIZE, SIZE, 1), 'other.png')
    shown = user.restore()['shown']
    assert shown['arms'] == ['without', 'with', 'stranger'] and shown['chosen'] == alone['shown']['chosen']
    assert shown['with']['same_person'] and not shown['stranger']['same_person']
    assert np.array_equal(user.picture('result.png'), expected)
    stranger, right = (user.picture(f'pictures/{shown["version"]}/{arm}') for arm in ('stranger', 'with'))
    assert not np.array_equal(stranger, right)


def test_what_did_not_change_is_not_restored_again(monkeypatch):
    restorer = small_restorer()
    user = new_user(restorer)
    user.give('photo', GOOD)
    user.give('references', picture(2, SIZE, SIZE, 0))
    user.give('strangers', picture(3, SIZE, SIZE, 1))
    encoded, ran = [], []
    encode, run = restorer.net.encode, restorer.engine.run
    monkeypatch.setattr(restorer.net, 'encode', lambda *a, **k: encoded.append(1) or encode(*a, **k))
    monkeypatch.setattr(restorer.engine, 'run', lambda plans, settings: ran.append(settings) or run(plans, settings))
    for strength in (0.2, 0.5, 0.5, 0.9):
        user.restore(strength=strength)
    assert len(encoded) == 2 and sorted(settings.strength for settings in ran) == [0, 0.2, 0.2, 0.5, 0.5, 0.9, 0.9]


def test_aligned_faces_need_no_detector_and_no_guard():
    user = new_user(small_restorer(guarded=False, detected=False))
    assert not user.done('GET', '/api/session')['about']['detector']
    photo, ref = picture(1, 2 * SIZE, 2 * SIZE), picture(2, SIZE, SIZE)
    user.give('photo', photo)
    user.give('references', ref)
    shown = user.restore(strength=0.5)['shown']
    assert 'was not checked' in shown['with']['notes'][0]
    direct = small_restorer(guarded=False, detected=False)(photo, [ref], strength=0.5)
    assert np.array_equal(user.picture('result.png'), direct.image)
    answer = user.ask('POST', '/api/photo', params={'name': 'wide.png'}, content=file_of(picture(1, 20, 30)))
    assert answer.status_code == 400 and 'wide.png: 30x20 is no aligned face' in answer.json()['error']
    assert np.array_equal(user.picture('result.png'), direct.image)  # the photo before is still there


# ------------------------------------------------------------------ the command
@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--host', '192.0.2.7'], 'add --token'),
        (['--host', '0.0.0.0', '--token'], 'one address'),
        (['--max_pixels', '0'], 'above 0'),
        (['--max_memory', 'inf'], 'above 0'),
        (['--minutes', 'nan'], 'above 0'),
        (['-n', 'absent.safetensors'], 'absent.safetensors'),
    ],
)
def test_wrong_arguments(args, message, capsys):
    from refstar.tools.cli import main

    assert main(['app', *args]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_the_limits_of_the_command():
    assert limits_of(parser().parse_args([])) == Limits()
    given = ['--max_upload', '0.5', '--max_memory', '1', '--minutes', '0.5', '--max_users', '3']
    assert limits_of(parser().parse_args(given)) == Limits(upload=2**19, memory=2**30, minutes=0.5, sessions=3)


def test_the_command_serves_and_leaves_nothing_on_disk(tmp_path):
    folder = tmp_path / 'here'
    for part in ('tmp', 'home'):
        (folder / part).mkdir(parents=True)
    code = 'import sys; from refstar.tools.cli import main; sys.exit(main())'
    command = [sys.executable, '-B', '-c', code, 'app', '-n', str(network_file(tmp_path)), '--port', '0']
    homes = {'TMPDIR': str(folder / 'tmp'), 'HOME': str(folder / 'home')}
    process = subprocess.Popen(
        command, cwd=folder, env=runs.ENVIRONMENT | homes, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert 'no --detector' in process.stdout.readline()
        url = process.stdout.readline().split()[0]
        with httpx2.Client(base_url=url, timeout=120) as http:
            user = User(http, url)
            user.give('photo', picture(1, SIZE, SIZE))
            user.give('references', picture(2, SIZE, SIZE))
            user.restore()
            assert user.picture('result.png').shape == (SIZE, SIZE, 3)
            assert 'default-src' in user.ask('GET', '/').headers['content-security-policy']
            assert not [path for path in folder.rglob('*') if path.is_file()]
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM) and 'Traceback' not in said, said
