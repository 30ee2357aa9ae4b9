"""`refstar app` refuses what is broken, too large, malformed, not its user's, or none of its business."""

import socket
import struct
import zlib

import httpx2
import numpy as np
import pytest
from helpers.app_serving import (
    FIVE,
    GOOD,
    ONE,
    OURS,
    TWO,
    Running,
    User,
    file_of,
    new_user,
    raw,
    restored,
    small_restorer,
)
from helpers.restoring import SIZE, picture
from helpers.strangers import REFUSED

from refstar.tools.webapp.limits import Limits


@pytest.fixture
def user() -> User:
    return new_user()


# ------------------------------------------------------------------ broken and too large
def huge() -> bytes:
    """A small PNG that says it is 20,000 pixels wide and high."""
    header = b'IHDR' + struct.pack('>II', 20_000, 20_000) + GOOD[24:29]
    return GOOD[:12] + header + struct.pack('>I', zlib.crc32(header)) + GOOD[33:]


BAD = {
    'is empty (zero bytes)': b'',
    'is no picture': b'hello',
    'is a broken picture': GOOD[:-200],
    'is too large (limit: 25000000 pixels)': huge(),
    'no face': file_of(picture(0, 10, 11)),
}
PROGRAM = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) show\n'  # Pillow would run Ghostscript


@pytest.mark.parametrize('what', ['photo', 'references', 'strangers'])
def test_bad_pictures_are_said(user, what):
    for message, data in {**BAD, 'is no picture (': PROGRAM}.items():
        answer = user.ask('POST', f'/api/{what}', params={'name': 'x y.jpg'}, content=data)
        assert answer.status_code == 400 and answer.json()['error'].startswith('x y.jpg: '), message
        assert message in answer.json()['error']
    assert user.done('GET', '/api/session')['photo'] is None


def test_limits():
    user = new_user(limits=Limits(upload=len(GOOD) + 100, references=2, faces=3))
    answer = user.ask('POST', '/api/photo', content=GOOD + bytes(101))
    assert answer.status_code == 413 and 'a picture has at most' in answer.json()['error']
    for number in (1, 2):
        user.give('references', picture(number, SIZE, SIZE, 0))
    third = user.ask('POST', '/api/references', params={'name': 'c.png'}, content=file_of(picture(3, SIZE, SIZE)))
    assert third.status_code == 400 and 'there are 2 references already' in third.json()['error']
    user.done('DELETE', '/api/references/2')
    assert len(user.give('strangers', file_of(np.zeros((60, FIVE, 3), np.uint8)))['references'][1]['faces']) == 3
    full = new_user(limits=Limits(memory=70 * ONE * 3))
    answer = full.ask('POST', '/api/photo', content=GOOD)
    assert answer.status_code == 503 and 'no room' in answer.json()['error']
    assert full.done('GET', '/api/session')['photo'] is None


WISHES = [
    b'', b'[]', b'{', b'\xff', b'[' * 60_000, b' ' * 70_000, b'{"a": 1}', b'{"face": 1}', b'{"face": -1}',
    b'{"face": 0.5}', b'{"face": "0"}', b'{"face": true}', b'{"face": 1e400}', b'{"face": 1' + b'0' * 5000 + b'}',
    b'{"strength": 2}', b'{"strength": NaN}', b'{"strength": true}', b'{"strength": "1"}', b'{"use": ["ears"]}',
    b'{"use": "eyes"}', b'{"use": [1]}', b'{"chosen": {}}', b'{"fidelity": 0.5}', b'{"on_wrong_identity": "x"}',
]  # fmt: skip


@pytest.fixture(scope='module')
def ready() -> User:
    user = new_user()
    user.give('photo', GOOD)
    return user


@pytest.mark.parametrize('body', WISHES, ids=lambda body: ascii(body[:20]))
def test_wrong_wishes_are_refused(ready, body):
    answer = ready.ask('POST', '/api/restore', content=body)
    assert answer.status_code in (400, 413) and answer.json()['error']


@pytest.mark.parametrize('headers', REFUSED.values(), ids=REFUSED)
def test_requests_of_strangers_are_refused(ready, headers):
    ours = {'Origin': OURS, 'Sec-Fetch-Site': 'same-origin', 'X-Session': ready.headers['X-Session']}
    sent = {key: value for key, value in (ours | headers).items() if value is not None}
    for method, path in (('POST', '/api/session'), ('POST', '/api/photo'), ('POST', '/api/restore')):
        answer = ready.http.request(method, path, headers=sent, content=GOOD)
        assert answer.status_code == 403 and answer.json()['error']
    if headers != {'Origin': None}:
        for path in ('/', '/api/session', '/api/pictures/photo'):
            assert ready.http.get(path, headers=sent).status_code == 403
    opened = ready.http.get('/api/pictures/photo', headers=ours)
    assert opened.status_code == 200 and opened.headers['cache-control'] == 'no-store'
    assert 'access-control-allow-origin' not in opened.headers


def test_a_session_opens_by_its_token_alone(ready):
    token = ready.headers['X-Session']
    for given in ('', token[:-1], token + 'a', token.upper(), 'null', '0', '../' + token):
        for path in ('/api/session', '/api/pictures/photo', '/api/result.png', '/api/record.json'):
            assert ready.http.get(path, headers={'X-Session': given}).status_code == 410
        assert ready.http.get('/api/pictures/photo', headers={'Cookie': f'x-session={token}'}).status_code == 410
        assert ready.http.get(f'/api/pictures/photo?x-session={token}').status_code == 410


def test_no_path_of_a_client_is_opened(ready, tmp_path):
    secret = tmp_path / 'secret.png'
    secret.write_bytes(b'CONFIDENTIAL' + GOOD)
    there = str(secret)
    paths = [
        '/../server.py', '/..%2f..%2fserver.py', '/%2e%2e/server.py', '/..%5cserver.py', '/%00', '//etc/passwd',
        f'/{there}', '/api/pictures/1', '/api', '/page', '/index.html/x', '/api/session/x',
        '/shared/../../guard.py', '/shared/%2e%2e/guard.py', '/shared/..%2f..%2fguard.py', f'/shared/{there}',
        f'/api/pictures/{there}', f'/api/pictures/reference/{there}', '/api/pictures/reference/..%2f..%2fserver.py',
        '/api/pictures/1/..%2fx', f'/api/pictures/1/mask/{there}', '/api/pictures/..', '/api/pictures/photo/..%2fx',
        '/api/pictures/reference/' + '9' * 5000, '/api/pictures/%00/%00', '/api/record.json/..', f'/file={there}',
    ]  # fmt: skip
    for path in paths:
        answer = ready.ask('GET', OURS + path)
        assert answer.status_code == 404 and answer.json()['error'], path
        assert b'CONFIDENTIAL' not in answer.content
    for key in (there, '../1-0', '9' * 5000):
        assert ready.ask('DELETE', f'/api/references/{key}').status_code in (404, 405)
    state = ready.give('photo', GOOD, there)  # a name is only ever shown
    assert state['photo']['name'] == 'secret.png'
    assert ready.give('photo', GOOD, '\x00\n/')['photo']['name'] == 'photo'


# ------------------------------------------------------------------ malformed requests
PIECES = [
    'api', 'session', 'photo', 'references', 'strangers', 'masks', 'restore', 'pictures', 'line', 'result.png', 'with',
    'mask', 'reference', 'shared', 'main.js', '1-0', '1', '-1', '..', '%2e%2e', '%00', '', '%ff', 'ü', '9' * 400, '%',
    '?', '#',
]  # fmt: skip
BODIES = [
    GOOD,
    file_of(picture(1, SIZE, SIZE, 0)),
    file_of(picture(1, 40, TWO), 'JPEG'),
    file_of(np.zeros((SIZE, SIZE), np.uint8)),
    b'{"face": 0, "strength": 0.5, "use": ["eyes"], "chosen": ["1-0"]}',
    b'',
]
KNOWN = ['POST photo', 'POST references', 'POST strangers', 'POST restore', 'PUT masks/1-0', 'DELETE references/1']
KNOWN += ['POST session', 'GET session']
METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'TRACE', 'get', 'A' * 300]
HEADERS = [
    b'Transfer-Encoding: chunked', b'Content-Length: -1', b'Content-Length: 99999999999999999999', b'X-Session:',
    b'Host: x', b'Upgrade: websocket', b'Expect: 100-continue', b'A: ' + b'x' * 70_000, b'no colon', b'\x00: 1',
]  # fmt: skip


def malformed(rng: np.random.Generator, running: Running, user: User) -> bytes:
    """A request with some bytes, a header, a path or a body that is not as it should be."""

    def pick(items):
        return items[rng.integers(len(items))]

    method, path = pick(KNOWN).split()
    path = f'/api/{path}'
    if rng.random() < 0.4:
        method = pick(METHODS)
        path = '/' + '/'.join(pick(PIECES) for _ in range(rng.integers(1, 6)))
    body = bytearray(pick(BODIES))
    for _ in range(rng.integers(0, 8)):  # changed bytes, or cut short
        if body:
            body[rng.integers(len(body))] = rng.integers(256)
    if rng.random() < 0.3:
        del body[rng.integers(len(body) + 1) :]
    request = bytearray(raw(method, path, running, bytes(body), user))
    head = request.index(b'\r\n\r\n')
    kind = rng.integers(6)
    if kind == 0:  # bytes of the head
        for _ in range(rng.integers(1, 4)):
            request[rng.integers(head)] = rng.integers(256)
    elif kind == 1:
        request[head:head] = b'\r\n' + pick(HEADERS)
    elif kind == 2:
        request = bytearray(rng.bytes(int(rng.integers(1, 400))))
    elif kind == 3:
        del request[rng.integers(1, len(request)) :]
    return bytes(request)


def test_five_hundred_malformed_requests(caplog):
    rng, statuses = np.random.default_rng(6), []
    photo, ref = picture(1, 72, ONE, 0), picture(2, SIZE, SIZE, 0)
    with (
        Running(small_restorer(), Limits(sessions=12)) as running,
        httpx2.Client(base_url=running.url, timeout=120) as http,
    ):
        good, bad = User(http, running.url), User(http, running.url)
        good.give('photo', photo)
        good.give('references', ref)
        good.restore()
        bad.give('photo', photo)
        for _ in range(500):
            with socket.create_connection(('127.0.0.1', running.port), timeout=60) as connection:
                connection.sendall(malformed(rng, running, bad))
                connection.shutdown(socket.SHUT_WR)
                answer = b''
                while part := received(connection):
                    answer += part
            statuses.append(int(answer[9:12]) if answer.startswith(b'HTTP/1.1 ') else 0)
        expected = restored(photo, [ref])
        assert np.array_equal(good.picture('result.png'), expected)  # untouched
        new = User(http, running.url)
        new.give('photo', photo)
        new.give('references', ref)
        new.restore()
        assert np.array_equal(new.picture('result.png'), expected)
    assert {200, 400, 403, 404, 405, 410} <= set(statuses), set(statuses)
    assert not {status for status in statuses if status >= 500}
    # (uvicorn itself stumbles over a HEAD with a broken chunk, and goes on)
    assert not [record.exc_info for record in caplog.records if 'ASGI application' in record.message]


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b''
