"""Faces followed from frame to frame: by where they are and, where a guard tells people apart, by who they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from .detection import FoundFace, eye_distance
from .face_plan import Face, Plan
from .identity_check import Guard
from .reference_choice import similarity_to
from .references import Person

NEAR = 0.8  # eye distances that a face moves at most between two frames
STILL = 0.1  # eye distances below which a movement is mostly the detector's noise
LOST = 5  # frames after which a face that is not found is forgotten
# Cosine of two degraded faces, MobileFaceNet, 10 people each of LFW and the London set, 128 px: the same person's
# next frame has 0.63 to 0.96; somebody else under the same degradation -0.02 to 0.31 where it is moderate, 0.16 to 0.73
# (median 0.41 and 0.60) where it is severe: not every cut is noticed there.
UNLIKE = 0.6  # below, somebody else may be there
CUT = 0.3  # below, somebody else is
DOUBTS = 3  # frames in a row that are unlike, after which somebody else is


@dataclass
class Track:
    """A face in a video.

    Args:
        number: counted from 0.
        found: as it was last seen, its points smoothed.
        embedding: sum over the frames, None without a guard.
        plan: what it is restored with, of its last frame.
        frames: how often it was seen.
        seen: number of the frame in which it was last seen.
        unlike: frames in a row in which it looked like somebody else.
        ended: somebody else took its place.
        flow, logits: of the last frame, (n, 2, h, w) and (n, 1, h', w').
        before, image: degraded and restored face of the last frame, float32 (S, S, 3).
        shown: its record, of its last frame.
    """

    number: int
    found: FoundFace
    embedding: np.ndarray | None = None
    plan: Plan | None = None
    frames: int = 0
    seen: int = 0
    unlike: int = 0
    ended: bool = False
    flow: Tensor | None = None
    logits: Tensor | None = None
    before: np.ndarray | None = None
    image: np.ndarray | None = None
    shown: dict[str, Any] = field(default_factory=dict)

    def look(self) -> np.ndarray:
        """Mean direction of its embeddings, (d,), of length 1."""
        return self.embedding / max(float(np.linalg.norm(self.embedding)), 1e-9)


class Tracks:
    """The faces of a video so far.

    Args:
        people: whose references there are.
        guard: tells people apart; None: faces are followed by their places alone.
    """

    def __init__(self, people: Sequence[Person], guard: Guard | None) -> None:
        self.people, self.guard = {person.name: person for person in people}, guard
        self.all: list[Track] = []
        self.number = 0

    def in_frame(self) -> list[Track]:
        """Those of the present frame."""
        return [track for track in self.all if track.seen == self.number]

    def at(self, found: FoundFace) -> Track:
        """The face's track by its place: the nearest that was not seen in this frame yet, else a new one."""
        free = [t for t in self.all if not t.ended and self.number - LOST <= t.seen < self.number]
        apart = eye_distance(found.points)
        off = [float(np.linalg.norm((t.found.points - found.points).mean(0))) / apart for t in free]
        if not free or min(off) >= NEAR:
            return self._begin(found)
        track = free[int(np.argmin(off))]
        moved = np.linalg.norm(found.points - track.found.points, axis=1).mean() / apart
        trust = float(np.clip(moved / STILL, 0.1, 1))
        track.found = replace(found, points=track.found.points + trust * (found.points - track.found.points))
        track.seen, track.frames = self.number, track.frames + 1
        return track

    def recognise(self, track: Track, face: Face) -> Track:
        """Takes a face of this frame to its track; to a new one, without references yet, if it is somebody else."""
        if face.embedding is not None:
            if self._is_somebody_else(track, face.embedding):
                track.seen, track.frames, track.ended = self.number - 1, track.frames - 1, True
                track = self._begin(track.found)
            if not track.unlike:
                track.embedding = face.embedding + (0 if track.embedding is None else track.embedding)
            face = replace(face, embedding=track.look())
        known = track.plan is not None and track.plan.chosen
        track.plan = replace(track.plan, face=face) if known else Plan(face, [], None, {}, [])
        return track

    def next_frame(self) -> None:
        """Ends the present frame; what is kept of faces that nobody asks for again is freed."""
        for track in self.all:
            if self.number - track.seen > LOST:
                track.plan = track.flow = track.logits = track.before = track.image = None
        self.number += 1

    def _begin(self, found: FoundFace) -> Track:
        self.all.append(Track(len(self.all), found, frames=1, seen=self.number))
        return self.all[-1]

    def _is_somebody_else(self, track: Track, embedding: np.ndarray) -> bool:
        """Whether there was a cut: the face is unlike the frames before, clearly or for some frames in a row, and
        not like the person of the references either. Frames in doubt do not count for how the track looks."""
        if track.embedding is None:
            return False
        likeness = float(embedding @ track.look())
        identity = track.plan.identity
        same = identity.same and similarity_to(embedding, self.people[identity.person]) >= self.guard.threshold
        track.unlike = 0 if same or likeness >= UNLIKE else track.unlike + 1
        return track.unlike >= DOUBTS or (track.unlike > 0 and likeness < CUT)
