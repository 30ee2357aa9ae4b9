"""Who uses the page: what one browser tab gave and got, in memory, under a secret of its own."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refstar.restore.detection import FoundFace
from refstar.restore.face_plan import Face, Result
from refstar.restore.references import Reference
from refstar.restore.restore_settings import Settings
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture

from .limits import Limits


class Ended(RefStarError):
    """There is no such session, or no longer."""


class Full(RefStarError):
    """There is no room for more."""


class Absent(RefStarError):
    """The session has nothing of that name."""


@dataclass
class Photo:
    """The photo to restore.

    Args:
        name: what its user calls it.
        picture: its pixels.
        found: its faces, the largest first; [None] for an aligned face.
        preview: a smaller copy, the content of a JPEG file.
        faces: faces cut out so far and the matrices that lead to them, by their number in `found`.
    """

    name: str
    picture: Picture
    found: list[FoundFace | None]
    preview: bytes
    faces: dict[int, tuple[Face, np.ndarray | None]] = field(default_factory=dict)


@dataclass
class Upload:
    """A photo of a reference.

    Args:
        name: what its user calls it, made unique in the session.
        stranger: it shows somebody else, to compare with.
        faces: by key.
    """

    name: str
    stranger: bool
    faces: dict[str, Reference]


@dataclass(frozen=True)
class Shown:
    """What was restored last.

    Args:
        version: a number of its own.
        face: number of the face.
        settings: how.
        by_hand: the references were chosen by the user.
        arms: results by name: `without` references, `with` them, with those of a `stranger`.
        keys: of the references of `with`, in its order.
    """

    version: int
    face: int
    settings: Settings
    by_hand: bool
    arms: dict[str, Result]
    keys: list[str]

    @property
    def best(self) -> Result:
        """The face as it goes into the photo."""
        return self.arms.get('with', self.arms['without'])


@dataclass
class Session:
    """All of one tab. Only the queue's thread changes it; what others read is replaced whole.

    Args:
        seen: time of the last request.
        photo: the photo to restore.
        uploads: references by their number.
        edited: references with a mask by hand, by number of the face and key.
        kept: finished arms and what they were made from, so that nothing is restored twice.
        done: latest result of each face of the photo, for the whole photo.
        shown: what was restored last.
        state: all of this in words, for the page.
        count: numbers given away.
    """

    seen: float
    photo: Photo | None = None
    uploads: dict[int, Upload] = field(default_factory=dict)
    edited: dict[tuple[int, str], Reference] = field(default_factory=dict)
    kept: dict[str, tuple[Any, Result]] = field(default_factory=dict)
    done: dict[int, Shown] = field(default_factory=dict)
    shown: Shown | None = None
    state: dict[str, Any] = field(default_factory=dict)
    count: int = 0

    def number(self) -> int:
        """A number that was not given away before."""
        self.count += 1
        return self.count

    def references(self) -> dict[str, Reference]:
        """Every face of a reference by its key."""
        return {key: face for upload in list(self.uploads.values()) for key, face in upload.faces.items()}

    def all_references(self) -> list[Reference]:
        """Every one that the network may have seen: with a mask by hand, too."""
        return [*self.references().values(), *list(self.edited.values())]

    def key_of(self, reference: Reference) -> str:
        """The key of a reference, with or without a mask by hand."""
        edited = [(key, own) for (_, key), own in self.edited.items()]
        return next(key for key, own in [*self.references().items(), *edited] if own is reference)

    def nbytes(self) -> int:
        """Of its pictures."""
        photo = self.photo
        total = 0 if photo is None else photo.picture.rgb.nbytes * (1 if photo.picture.alpha is None else 2)
        total += sum(ref.crop.nbytes for ref in self.all_references())
        shown = {id(result): result for one in list(self.done.values()) for result in one.arms.values()}
        total += sum(result.image.nbytes * 2 + result.mask.nbytes * 2 for result in shown.values())
        return total

    def start_photo(self, photo: Photo) -> None:
        """Takes another photo; what belonged to the one before is forgotten."""
        self.photo, self.shown = photo, None
        for old in (self.edited, self.kept, self.done):
            old.clear()


class Sessions:
    """All sessions, within limits.

    Args:
        limits: of the page.
        ended: is told of every session that has ended.
        clock: seconds that pass.
    """

    def __init__(
        self, limits: Limits, ended: Callable[[Session], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits, self.ended, self.clock = limits, ended, clock
        self._all: dict[str, Session] = {}

    def create(self) -> str:
        """A new session; returns its token.

        Raises:
            Full: there are as many as may be, and none that has expired or was never used.
        """
        self.sweep()
        if len(self._all) >= self.limits.sessions:
            unused = [token for token, session in self._all.items() if session.photo is None and not session.uploads]
            if not unused:
                raise Full('all places are taken; try again in some minutes')
            self.drop(min(unused, key=lambda token: self._all[token].seen))
        token = secrets.token_urlsafe(32)
        self._all[token] = Session(self.clock())
        return token

    def get(self, token: str) -> Session:
        """The session of a token.

        Raises:
            Ended: there is none.
        """
        session = self._all.get(token)
        if session is None or self.clock() - session.seen > 60 * self.limits.minutes:
            raise Ended(
                f'this session has ended (after {self.limits.minutes:g} minutes without use); drop the photo again'
            )
        session.seen = self.clock()
        return session

    def drop(self, token: str) -> None:
        """Forgets a session."""
        session = self._all.pop(token, None)
        if session is not None:
            self.ended(session)

    def sweep(self) -> None:
        """Forgets sessions that have expired."""
        now = self.clock()
        for token, session in list(self._all.items()):
            if now - session.seen > 60 * self.limits.minutes:
                self.drop(token)

    def check_room(self) -> None:
        """Raises Full where the pictures of all sessions together take too much memory."""
        if sum(session.nbytes() for session in list(self._all.values())) > self.limits.memory:
            raise Full('there is no room for another picture; try again in some minutes, or take a smaller one')

    def __len__(self) -> int:
        return len(self._all)
