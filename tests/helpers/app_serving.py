"""Helpers of the tests of `refstar app`: small networks, the page served by this process."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from helpers.restoring import SIZE, Detector, face_at, hue_checker, network
from PIL import Image

from refstar.restore.restorer import Restorer
from refstar.utils.errors import CommandParser

ONE, TWO, FIVE = 96, 128, 200  # widths of photos with as many faces
FACES = {
    ONE: [face_at(30, 20, 40)],
    TWO: [face_at(8, 16, 40), face_at(72, 16, 36)],
    FIVE: [face_at(40 * i + 2, 8, 38 - i) for i in range(5)],
    SIZE: [face_at(0, 0, SIZE)],
}


def small_restorer(checked: bool = True, detected: bool = True) -> Restorer:
    """A network with random weights that finds faces by the width of a photo and people by their hue."""
    checker, detector = hue_checker() if checked else None, Detector(FACES) if detected else None
    return Restorer(network(), identity_checker=checker, detector=detector)


def file_of(img: np.ndarray) -> bytes:
    """A picture as the content of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(img).save(file, 'PNG')
    return file.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    """The picture in a file."""
    return np.array(Image.open(io.BytesIO(data)))


def restored(photo: np.ndarray, references: list[np.ndarray], **settings: object) -> np.ndarray:
    """What `refstar restore` makes of it."""
    return small_restorer().restore_photo(photo, references, **settings).picture.rgb


@contextmanager
def served(restorer: Restorer, *args: str) -> Iterator[str]:
    """Serve the page by a thread of this process, with arguments of the command; its address."""
    from refstar.tools.app import add_arguments
    from refstar.tools.app_page import AppPage
    from refstar.tools.serve_page import launched

    parser = CommandParser()
    add_arguments(parser)
    limits = parser.parse_args(['--port', '0', *args])
    page = AppPage(restorer, limits, 'net.safetensors')
    with launched(page.build, limits, max_file_size=int(limits.max_upload * 2**20)) as blocks:
        yield blocks.local_url
