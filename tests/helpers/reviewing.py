"""Helpers of the tests of `refstar masks review`: a small synthetic collection, and its server as a process."""

import hashlib
import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import numpy as np
from helpers import runs
from PIL import Image

from refstar.data.synthetic_face_dataset import SyntheticFaceDataset

PAIRS = 6


def write_collection(root: Path, size: int, pairs: int = PAIRS) -> Path:
    """Synthetic people in the form of RefSel-HQ, with ids `00000 ...` and confidences 0.4, 0.5 ..."""
    people = SyntheticFaceDataset({'gt_size': size, 'identities': pairs})
    for part in ('gt', 'ref', 'mask'):
        (root / part).mkdir(parents=True)
    rows = ['id,identity,provenance,confidence,pair']
    for number in range(pairs):
        sample = people[number]
        for part, image in (('gt', sample['gt']), ('ref', sample['refs'][0])):
            pixels = ((image.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
            Image.fromarray(pixels).save(root / f'{part}/{number:05d}.png')
        (root / f'mask/{number:05d}.png').write_bytes(png(sample['ref_mask'][0, 0].numpy() * 255))
        provenance = 'proposed' if number % 2 else 'propagated'
        rows.append(f'{number:05d},person{number},{provenance},{0.4 + number / 10:.1f},"mined, no. {number}"')
    (root / 'meta.csv').write_text('\n'.join(rows) + '\n')
    return root


def png(pixels: np.ndarray, mode: str = 'L', **options) -> bytes:
    """A PNG file of grey pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, 'PNG', **options)
    return file.getvalue()


def pixels(root: Path, name: str, part: str = 'mask') -> np.ndarray:
    with Image.open(root / part / f'{name}.png') as image:
        return np.array(image)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def provenance(root: Path) -> list[str]:
    """The column of meta.csv."""
    return [line.split(',')[2] for line in (root / 'meta.csv').read_text().splitlines()[1:]]


class Server:
    """`refstar masks review` as a process of its own, as a person starts it."""

    def __init__(self, root: Path, port: int = 0, *args: str):
        code = 'import sys; from refstar.tools.masks_review import main; sys.exit(main())'
        command = [sys.executable, '-c', code, str(root), '--port', str(port), *args]
        self.process = subprocess.Popen(
            command, env=runs.ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said = ''
        while not (found := re.search(r'http://\S+:(\d+)/\S*', self.said)):
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line
        self.url, self.port = found[0], int(found[1])

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process by a signal; returns its exit code."""
        self.process.send_signal(how)
        self.said += self.process.communicate(timeout=30)[0]
        return self.process.returncode

    def __enter__(self) -> 'Server':
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)


class Client:
    """Talks to the server as the page does.

    Args:
        http: a client with its base address set.
        origin: of the page.
    """

    def __init__(self, http: httpx2.Client, origin: str):
        self.http = http
        self.origin = origin.rstrip('/')

    def look(self, name: str) -> dict:
        return self.http.get(f'/api/pairs/{name}').raise_for_status().json()

    def decide(self, name: str, action: str, body: bytes = b'', seen: dict | None = None, **headers) -> httpx2.Response:
        seen = seen or self.look(name)
        query = {'action': action, 'version': seen['version'], 'mask': seen['mask']}
        headers = {'Origin': self.origin, 'Content-Type': 'image/png', **headers}
        return self.http.post(f'/api/pairs/{name}', params=query, content=body, headers=headers)
