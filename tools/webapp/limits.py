"""What the page takes of its users: the defaults of `refstar app`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What the page takes.

    Args:
        upload: bytes of a file.
        pixels: of a picture.
        references: photos of references in a session, those of strangers too.
        faces: of a picture; of more the largest are looked at.
        sessions: at a time.
        minutes: a session lives after its last request.
        memory: bytes of the pictures of all sessions together.
        waiting: requests of one session in the queue.
        queue: requests of all.
    """

    upload: int = 32 * 2**20
    pixels: int = 25_000_000
    references: int = 8
    faces: int = 16
    sessions: int = 64
    minutes: float = 30
    memory: int = 2 * 2**30
    waiting: int = 4
    queue: int = 100
