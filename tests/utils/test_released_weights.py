"""Released weights, against a server on this machine: nothing wrong is kept, nothing is fetched twice."""

import hashlib
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from refstar import RefStarError
from refstar.tools.weights import main
from refstar.utils import released_weights
from refstar.utils.checkpoint import sha256
from refstar.utils.released_weights import Released, get, released, resolve

DATA = random.Random(0).randbytes(100_000)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves `body` under every path and says that it has `length` bytes; `seen` are the paths asked for.

    The table then has `known` and `unknown` (without sha256).
    """
    state = SimpleNamespace(body=DATA, length=len(DATA), status=200, seen=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.seen.append(self.path)
            self.send_response(state.status)
            self.send_header('Content-Length', str(state.length))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{http.server_port}'
    table = {
        'known': Released(f'{url}/known.pth', 'MIT', 'test', DIGEST),
        'unknown': Released(f'{url}/unknown.pth', 'MIT', 'test'),
    }
    monkeypatch.setattr(released_weights, 'released', lambda: table)
    monkeypatch.setattr(released_weights, 'RETRIES', 0)
    monkeypatch.setenv('REFSTAR_HOME', str(tmp_path))
    for variable in ('REFSTAR_OFFLINE', 'http_proxy', 'HTTP_PROXY'):
        monkeypatch.delenv(variable, raising=False)
    yield state
    http.shutdown()
    http.server_close()


def kept(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob('*') if path.is_file() and path.suffix != '.lock']


def test_many_at_once_fetch_once_and_name_the_licence(server, tmp_path, capsys):
    found, threads = [], [threading.Thread(target=lambda: found.append(get('known'))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and server.seen == ['/known.pth'] and kept(tmp_path) == ['known.pth']
    assert found[0].read_bytes() == DATA and 'known: licence MIT' in capsys.readouterr().err
    assert resolve('known') == str(found[0]) and resolve('other.pth') == 'other.pth' and resolve(None) is None


def test_a_changed_file_is_refused(server):
    get('known').write_bytes(DATA[:-1])
    with pytest.raises(RefStarError, match=r'known\.pth: sha256 is .*, not .*: broken or another file; delete it'):
        get('known')


@pytest.mark.parametrize(
    ('answer', 'message'),
    [
        ({'body': DATA[:50_000]}, 'known: '),  # cut
        ({'body': DATA[:-1] + b'x'}, f'is not the file of sha256 {DIGEST}: refused'),
        ({'status': 404}, 'known: cannot fetch http://127.*fetch it and put it at .*known.pth'),
    ],
)
def test_a_failed_download_leaves_no_file(server, tmp_path, answer, message):
    vars(server).update(answer)
    with pytest.raises(RefStarError, match=message) as error:
        get('known')
    assert '\n' not in str(error.value) and kept(tmp_path) == []


def test_a_file_without_known_hash_is_said_to_be_unchecked(server, capsys):
    assert get('unknown').read_bytes() == DATA
    assert f'it was not checked; it is {DIGEST}' in capsys.readouterr().err


def test_offline_says_which_file_belongs_where(server, tmp_path, monkeypatch):
    monkeypatch.setenv('REFSTAR_OFFLINE', '1')
    with pytest.raises(RefStarError, match=r'known\.pth is not there, and offline; fetch http.* and put it there'):
        get('known')
    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights/known.pth').write_bytes(DATA)
    assert get('known').read_bytes() == DATA and not server.seen


def test_the_table_is_sound():
    assert len({entry.path for entry in released().values()}) == len(released())
    for name, entry in released().items():
        assert entry.url.startswith('https://') and len(entry.sha256 or 'x' * 64) == 64, name


@pytest.mark.parametrize(
    ('file', 'name'),
    [
        ('detection_mobilenet0.25_Final.pth', 'retinaface_mobilenet'),
        ('mobilefacenet_ms1m_128.pt', 'mobilefacenet'),
    ],
)
def test_sha256_of_a_released_file(faces_root, file, name):
    assert sha256(faces_root / 'weights' / file) == released()[name].sha256


def test_the_command_lists_and_gets(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('REFSTAR_HOME', str(tmp_path))
    assert main(['list']) == 0
    assert 'GFPGANv1.4: not here, sha256 known' in capsys.readouterr().out
    assert main(['get', 'arcface']) == 2
    assert 'nearest: arcface_irse50' in capsys.readouterr().err
    path = tmp_path / 'weights' / 'arcface_resnet18.pth'
    path.parent.mkdir()
    path.write_bytes(b'a file without known sha256')
    assert main(['get', 'arcface_resnet18', '--offline']) == 0
    assert capsys.readouterr().out.strip() == str(path)
