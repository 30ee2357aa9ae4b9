"""The store of released weights, against a server on this machine: nothing wrong is kept, nothing is fetched twice."""

import hashlib
import json
import random
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from refstar import RefStarError
from refstar.identity_arch import NETWORKS
from refstar.tools.restore import parser
from refstar.tools.weights import main
from refstar.utils.checkpoint import sha256
from refstar.utils.released_weights import RELEASED, Released
from refstar.utils.weight_store import WeightStore

DATA = random.Random(0).randbytes(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()


class Server:
    """Serves DATA under every path, and misbehaves as told.

    Attributes:
        cuts: sizes after which the next answers are cut, one per request.
        ranges: whether `Range` is understood.
        data: what is served.
        status: answered instead, if not 200.
        seen: (path, Range header) of every request.
    """

    def __init__(self) -> None:
        self.cuts, self.ranges, self.data, self.status, self.seen = [], True, DATA, 200, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.http.server_port}'
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get('Range')
        self.seen.append((request.path, asked))
        if self.status != 200:
            request.send_error(self.status)
            return
        start = int(asked.removeprefix('bytes=').rstrip('-')) if asked and self.ranges else 0
        if start >= len(self.data):
            request.send_response(416)
            request.send_header('Content-Range', f'bytes */{len(self.data)}')
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header('Content-Range', f'bytes {start}-{len(self.data) - 1}/{len(self.data)}')
        body = self.data[start:]
        request.send_header('Content-Length', str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def store(server, tmp_path) -> WeightStore:
    known = Released(f'{server.url}/known.pth', DIGEST, 'MIT', True, 'test')
    table = {
        'known': known,
        'unknown': replace(known, url=f'{server.url}/unknown.pth', sha256=''),
        'restricted': replace(known, url=f'{server.url}/restricted.pth', licence='NON-COMMERCIAL', free=False),
    }
    return WeightStore(tmp_path / 'home', offline=False, mirrors=[], accepted=[], pause=0, table=table)


def test_fetched_once_and_checked_always(store, server, capsys):
    path = store.get('known')
    assert path.read_bytes() == DATA
    assert 'known: licence MIT' in capsys.readouterr().err
    assert store.get('known') == path and len(server.seen) == 1
    assert not capsys.readouterr().err, 'the licence is shown at first use'
    assert store.resolve(path) == path and store.resolve('known') == path
    path.write_bytes(DATA[:-1])
    with pytest.raises(RefStarError, match=r'known\.pth: sha256 is .*, not .*: broken or another file; delete it'):
        store.get('known')
    assert len(server.seen) == 1


def test_a_cut_download_goes_on(store, server):
    server.cuts = [1_000_000, 500_000]
    assert store.get('known').read_bytes() == DATA
    first, second, third = (asked for _, asked in server.seen)
    assert first is None
    assert 900_000 < int(second[6:-1]) <= 1_000_000 < int(third[6:-1]) <= 1_500_000


def test_a_killed_download_goes_on(store, server):
    """What an earlier process left is used; if it is of another file, all is fetched anew."""
    part = store.path('known').with_name('known.pth.part')
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA[:2_000_000])
    assert store.get('known').read_bytes() == DATA
    assert server.seen[0][1] == 'bytes=2000000-'
    store.path('known').unlink()
    for rest in (b'x' * 2_000_000, b'x' * len(DATA), b'x' * (len(DATA) + 1), DATA):
        part.write_bytes(rest)
        assert store.get('known').read_bytes() == DATA
        assert not part.exists()
        store.path('known').unlink()


def test_a_server_without_ranges(store, server):
    server.ranges, server.cuts = False, [1_000_000]
    assert store.get('known').read_bytes() == DATA


def test_a_connection_that_brings_nothing_is_given_up(store, server):
    server.cuts = [1000] + [0] * 20
    with pytest.raises(RefStarError, match='the connection was cut at 0 of 3000000 bytes'):
        store.get('known')
    assert len(server.seen) == 5
    server.cuts = []
    assert store.get('known').read_bytes() == DATA


def test_wrong_content_is_refused(store, server):
    server.data = DATA[:-1] + b'x'
    with pytest.raises(RefStarError, match=f'sha256 is .*, not {DIGEST}: refused'):
        store.get('known')
    assert [path.name for path in store.path('known').parent.iterdir()] == ['.known.pth.lock']


@pytest.mark.parametrize('status', [404, 403])
def test_a_server_that_refuses(store, server, status):
    server.status = status
    with pytest.raises(RefStarError, match=f'known: http://.*: the server answers {status}'):
        store.get('known')
    assert len(server.seen) == 1, 'it is not asked again'


def test_mirrors_come_first_and_need_not_be_right(store, server):
    mirror = Server()
    try:
        store.mirrors = ['http://127.0.0.1:1/gone', f'{mirror.url}/copies/']
        assert store.get('known').read_bytes() == DATA
        assert mirror.seen == [('/copies/known.pth', None)] and not server.seen
        store.path('known').unlink()
        mirror.data = b'something else'
        assert store.get('known').read_bytes() == DATA
        assert len(server.seen) == 1
    finally:
        mirror.http.shutdown()
        mirror.http.server_close()


def test_offline(store, server):
    store.offline = True
    with pytest.raises(RefStarError, match=r'not in .*, and offline; fetch http'):
        store.get('known')
    store.path('known').parent.mkdir(parents=True)
    store.path('known').write_bytes(DATA)
    assert store.get('known').read_bytes() == DATA
    assert not server.seen


def test_an_unknown_hash_holds_from_the_first_download_on(store, server, capsys):
    path = store.get('unknown')
    assert f'from now on it must be {DIGEST}' in capsys.readouterr().err
    pin = json.loads((store.folder / 'pins.json').read_text())['unknown']
    assert pin['sha256'] == DIGEST and pin['source'] == f'{server.url}/unknown.pth'
    path.unlink()
    server.data = b'another file'
    with pytest.raises(RefStarError, match='refused'):
        store.get('unknown')
    assert store.known_hash('unknown') == DIGEST


def test_halves_of_two_files_are_not_joined(store):
    part = store.path('unknown').with_name('unknown.pth.part')
    part.parent.mkdir(parents=True)
    part.write_bytes(b'x' * 1_000_000)
    assert store.get('unknown').read_bytes() == DATA


def test_a_licence_has_to_be_accepted(store, server):
    with pytest.raises(RefStarError, match=r'restricted: NON-COMMERCIAL\. If you may and do accept it'):
        store.get('restricted')
    assert not server.seen
    store.accepted = ['restricted']
    store.get('restricted')
    store.accepted = []
    store.get('restricted')
    assert json.loads((store.folder / 'licences.json').read_text())['restricted']['licence'] == 'NON-COMMERCIAL'


def test_many_at_once_fetch_once(store, server):
    found, threads = [], [threading.Thread(target=lambda: found.append(store.get('known'))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and len(server.seen) == 1


def test_wrong_input(store, tmp_path):
    with pytest.raises(RefStarError, match="no weights are called 'Known'; nearest: known"):
        store.get('Known')
    store.folder.mkdir()
    (store.folder / 'licences.json').write_text('[')
    with pytest.raises(RefStarError, match=r'licences\.json: is broken'):
        store.get('known')
    file = tmp_path / 'file'
    file.touch()
    with pytest.raises(RefStarError, match='cannot write'):
        replace(store, folder=file / 'home').get('known')


def test_the_table():
    assert len({entry.file for entry in RELEASED.values()}) == len(RELEASED)
    for name, entry in RELEASED.items():
        assert entry.url.startswith('https://') and len(entry.sha256) in (0, 64), name
        assert entry.free == ('NON-COMMERCIAL' not in entry.licence), name


@pytest.mark.parametrize(
    ('file', 'name'),
    [
        ('detection_mobilenet0.25_Final.pth', 'retinaface_mobilenet'),
        ('mobilefacenet_ms1m_128.pt', 'mobilefacenet'),
    ],
)
def test_a_released_file_at_hand(faces_root, file, name):
    assert sha256(faces_root / 'weights' / file) == RELEASED[name].sha256


def test_every_identity_network_is_told_with_its_file():
    """What to pass as --identity_network stands beside each file of one, and the usual one has a file."""
    networks = {name: entry.use.split()[2] for name, entry in RELEASED.items() if entry.use.startswith('identity')}
    assert networks == {name: name.replace('arcface_irse50', 'irse50') for name in networks}
    assert set(networks.values()) <= set(NETWORKS)
    usual = parser().parse_args(['-i', 'x']).identity_network
    assert usual is None or usual in networks


def test_the_command(tmp_path, monkeypatch, capsys):
    """Names, folder, mirror, offline mode and licences by the environment; no network is used."""
    monkeypatch.setenv('REFSTAR_HOME', str(tmp_path))
    monkeypatch.setenv('REFSTAR_OFFLINE', '1')
    monkeypatch.delenv('REFSTAR_ACCEPT_LICENCES', raising=False)
    assert main(['list']) == 0
    text = capsys.readouterr().out
    assert 'GFPGANv1.4: not here, sha256 known' in text and 'NON-COMMERCIAL' in text
    assert main(['get', 'CodeFormer']) == 2
    assert 'refstar weights get CodeFormer --accept_licence' in capsys.readouterr().err
    assert main(['get', 'CodeFormer', '--accept_licence']) == 2
    assert 'and offline; fetch https://github.com/sczhou' in capsys.readouterr().err
    path = tmp_path / 'weights' / 'arcface_resnet18.pth'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'by hand')
    assert main(['get', 'arcface_resnet18']) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert main(['get', 'arcface']) == 2
    assert 'nearest: arcface_irse50' in capsys.readouterr().err
    assert sorted(Path(tmp_path).rglob('*.pth')) == [path]
