"""Follow faces from frame to frame: by their places and, with an identity network, by who they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from .alignment import FoundFace, eye_distance
from .faces import AlignedFace, Person
from .identity_check import IdentityChecker, cosine
from .references import compare

MAX_MOVE = 0.8  # eye distances between two frames; a face farther away is a new one
NOISE = 0.1  # eye distances; a smaller movement is mostly noise of the detector
MAX_GAP = 5  # frames after which a face that is not found is dropped
# Cosine of two degraded faces, network that ships (benchmarks/thresholds.py). Where the degradation is moderate, every
# next frame of the same person is above DOUBTFUL, and 0.4 to 3 % of cuts to another person. Where it is severe, 81 to
# 87 % of the next frames are, and 1 to 10 % of the cuts.
DOUBTFUL = 0.6  # below, it may be another person
CUT = 0.3  # below, it is another person
MAX_DOUBTS = 3  # doubtful frames in a row, after which it is another person


@dataclass
class Track:
    """A face in a video."""

    number: int
    found: FoundFace  # as it was last found, its points smoothed
    embedding: np.ndarray | None = None  # sum over the frames, None without an identity network
    lengths: float = 0.0  # sum of their lengths
    known: int = 0  # how many they are
    face: AlignedFace | None = None  # with its references, of the last frame
    frames: int = 1  # in which it was found
    seen: int = 0  # last frame in which it was found
    doubts: int = 0  # frames in a row in which it looked like another person
    ended: bool = False  # another person took its place
    flow: Tensor | None = None  # correspondence of the last frame, (n, 2, h, w)
    logits: Tensor | None = None  # selection of the last frame, (n, 1, h', w')
    before: np.ndarray | None = None  # degraded face of the last frame, float32 (S, S, 3)
    image: np.ndarray | None = None  # restored face of the last frame, the same shape
    record: dict[str, Any] = field(default_factory=dict)  # of the last frame

    def mean_embedding(self) -> np.ndarray:
        """Return the mean direction of its embeddings, (d,), with their mean length."""
        return self.embedding * (self.lengths / self.known / max(float(np.linalg.norm(self.embedding)), 1e-9))


class FaceTracker:
    """Follow the faces of a video; without an identity checker by their places alone."""

    def __init__(self, people: Sequence[Person], identity_checker: IdentityChecker | None) -> None:
        self.people, self.identity_checker = {person.name: person for person in people}, identity_checker
        self.tracks: list[Track] = []
        self.frame = 0

    def in_frame(self) -> list[Track]:
        """Return the faces of the present frame."""
        return [track for track in self.tracks if track.seen == self.frame]

    def place(self, found: FoundFace) -> Track:
        """Return the track of a face by its place: the nearest without a face in this frame, else a new one."""
        free = [t for t in self.tracks if not t.ended and self.frame - MAX_GAP <= t.seen < self.frame]
        apart = eye_distance(found.points)
        moves = [float(np.linalg.norm((t.found.points - found.points).mean(0))) / apart for t in free]
        if not free or min(moves) >= MAX_MOVE:
            return self._begin(found)
        track = free[int(np.argmin(moves))]
        moved = np.linalg.norm(found.points - track.found.points, axis=1).mean() / apart
        gain = float(np.clip(moved / NOISE, 0.1, 1))
        track.found = replace(found, points=track.found.points + gain * (found.points - track.found.points))
        track.seen, track.frames = self.frame, track.frames + 1
        return track

    def update(self, track: Track, face: AlignedFace) -> Track:
        """Give a track its face of this frame; return a new track, without references yet, for another person."""
        if face.embedding is not None:
            if self._is_another_person(track, face.embedding):
                track.seen, track.frames, track.ended = self.frame - 1, track.frames - 1, True
                track = self._begin(track.found)
            if not track.doubts:
                track.embedding = face.embedding + (0 if track.embedding is None else track.embedding)
                track.lengths, track.known = track.lengths + float(np.linalg.norm(face.embedding)), track.known + 1
            face = replace(face, embedding=track.mean_embedding())
        if track.face is not None and track.face.chosen:
            kept = ('chosen', 'identity', 'dropped', 'notes')
            face = replace(face, **{name: getattr(track.face, name) for name in kept})
        track.face = face
        return track

    def next_frame(self) -> None:
        """End the present frame; free what is kept of dropped faces."""
        for track in self.tracks:
            if self.frame - track.seen > MAX_GAP:
                track.face = track.flow = track.logits = track.before = track.image = None
        self.frame += 1

    def _begin(self, found: FoundFace) -> Track:
        self.tracks.append(Track(len(self.tracks), found, seen=self.frame))
        return self.tracks[-1]

    def _is_another_person(self, track: Track, embedding: np.ndarray) -> bool:
        """Detect a cut: the face is unlike the frames before, clearly or for some frames in a row, and not like the
        person of the references either. Doubtful frames do not count for the mean embedding."""
        if track.embedding is None:
            return False
        similarity, identity = cosine(embedding, track.mean_embedding()), track.face.identity
        same = identity.same and compare(embedding, self.people[identity.person], self.identity_checker).same
        track.doubts = 0 if same or similarity >= DOUBTFUL else track.doubts + 1
        return track.doubts >= MAX_DOUBTS or (track.doubts > 0 and similarity < CUT)
