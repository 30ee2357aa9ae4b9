"""Helpers of the tests of `refstar app`: its server in a thread, a user of it, pictures as files."""

import io
import threading
import time

import httpx2
import numpy as np
import uvicorn
from helpers.restoring import SIZE, Detector, face_at, hue_guard, network, picture
from PIL import Image
from starlette.testclient import TestClient

from refstar.data.synthetic_face_dataset import SyntheticFaceDataset
from refstar.restore.photo import restore_photo
from refstar.restore.restore_settings import Settings
from refstar.restore.restorer import Restorer
from refstar.tools.webapp.limits import Limits
from refstar.tools.webapp.server import web_app
from refstar.utils.image_files import Picture

ONE, TWO, FIVE = 96, 128, 200  # widths of photos with as many faces
FACES = {
    ONE: [face_at(30, 20, 40)],
    TWO: [face_at(8, 16, 40), face_at(72, 16, 36)],
    FIVE: [face_at(40 * i + 2, 8, 38 - i) for i in range(5)],
    SIZE: [face_at(0, 0, SIZE)],
}


def small_restorer(guarded: bool = True, detected: bool = True) -> Restorer:
    """A network with random weights that finds faces by the width of a photo and people by their hue."""
    guard, detector = hue_guard() if guarded else None, Detector(FACES) if detected else None
    return Restorer(network(), guard=guard, detector=detector)


def synthetic_people(network_path: str) -> tuple[Restorer, list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """A trained network; two people side by side on a bad photo, and good photos of each."""
    restorer = Restorer.from_pretrained(network_path)
    size = restorer.size
    degradation = {'preset': 'ffhq_ref_severe', 'downsample_range': [24, 32]}
    options = {'gt_size': size, 'identities': 2, 'first_identity': 900, 'num_refs': 4, 'seed': 1, 'phase': 'val'}
    people = SyntheticFaceDataset(options | {'degradation': degradation})

    def pixels(img) -> np.ndarray:
        return ((img.permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)

    photo = np.hstack([pixels(people[i]['lq']) for i in range(2)])
    restorer.detector = restorer.reader.detector = Detector(
        {2 * size: [face_at(0, 0, size), face_at(size, 0, size)], size: [face_at(0, 0, size)]}
    )
    return restorer, photo, [pixels(ref) for ref in people[0]['refs'][:3]], [pixels(people[1]['refs'][0])]


def file_of(img: np.ndarray, form: str = 'PNG', **options) -> bytes:
    """A picture as the content of a file."""
    file = io.BytesIO()
    Image.fromarray(img).save(file, form, **options)
    return file.getvalue()


def pixels_of(answer: httpx2.Response) -> np.ndarray:
    """The picture in an answer."""
    assert answer.status_code == 200, answer.text
    return np.array(Image.open(io.BytesIO(answer.content)))


class Running:
    """The application served at a free port of the loopback, by a thread."""

    def __init__(self, restorer: Restorer, limits: Limits | None = None):
        app = web_app(restorer, limits or Limits(), 'net.safetensors')
        config = uvicorn.Config(app, port=0, log_config=None, ws='none', timeout_graceful_shutdown=3)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f'http://127.0.0.1:{self.port}/'

    def __enter__(self) -> 'Running':
        return self

    def __exit__(self, *_) -> None:
        self.server.should_exit = True
        self.thread.join()


class User:
    """One tab of the page.

    Args:
        http: a client with its base address set.
        origin: of the page.
    """

    def __init__(self, http: httpx2.Client, origin: str) -> None:
        self.http, self.headers = http, {'Origin': origin.rstrip('/')}
        self.headers['X-Session'] = self.ask('POST', '/api/session').json()['session']

    def ask(self, method: str, path: str, **more) -> httpx2.Response:
        headers = self.headers | more.pop('headers', {})
        return self.http.request(method, path, headers=headers, **more)

    def done(self, method: str, path: str, **more) -> dict:
        """The same; it must succeed."""
        answer = self.ask(method, path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def give(self, what: str, img: np.ndarray | bytes, name: str = 'a.png') -> dict:
        """Hands in a picture: `photo`, `references`, `strangers`."""
        data = img if isinstance(img, bytes) else file_of(img)
        return self.done('POST', f'/api/{what}', params={'name': name}, content=data)

    def restore(self, **wish) -> dict:
        return self.done('POST', '/api/restore', json=wish)

    def picture(self, path: str) -> np.ndarray:
        return pixels_of(self.ask('GET', f'/api/{path}'))


OURS = 'http://127.0.0.1:8411'
GOOD = file_of(picture(0, 72, ONE, 0))


def new_user(restorer: Restorer | None = None, limits: Limits | None = None) -> User:
    """A user of a server without a network between them."""
    app = web_app(restorer or small_restorer(), limits or Limits(), 'net.safetensors')
    return User(TestClient(app, base_url=OURS, raise_server_exceptions=False), OURS)


def restored(
    photo: np.ndarray, references: list[np.ndarray], restorer: Restorer | None = None, **settings
) -> np.ndarray:
    """What `refstar restore` makes of it."""
    restorer = restorer or small_restorer()
    people = restorer.people(references)
    return restore_photo(restorer, Picture(photo), people, Settings(**settings)).picture.rgb


def wait_for(condition, seconds: float = 60) -> None:
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def raw(method: str, path: str, running: Running, body: bytes, user: User) -> bytes:
    """A request as it goes over the wire."""
    host = f'127.0.0.1:{running.port}'
    lines = [f'{method} {path} HTTP/1.1', f'Host: {host}', f'Origin: http://{host}']
    lines += [f'X-Session: {user.headers["X-Session"]}', f'Content-Length: {len(body)}', '', '']
    return '\r\n'.join(lines).encode() + body
