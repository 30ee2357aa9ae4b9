"""Review of selection masks: what a person decides about each triplet, on disk before anything else happens.

Below the root of the collection a review writes `decisions.jsonl` (the journal: the truth), `mask_history/` (every mask
that was replaced, and every one that replaced it), `mask/<id>.png` (the mask in force) and the column `provenance` of
`meta.csv`. The last two follow from the first two; after a kill they are put right at the next start.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from refstar.utils.atomic_files import publish, stage, sync_folder, write_atomically
from refstar.utils.errors import RefStarError

from .mask_png import decode_mask, encode_mask
from .review_journal import Decision, Journal, Standing
from .triplet_collection import OutsideRoot, TripletCollection

DECIDED = ('accepted', 'edited', 'rejected')


class Stale(RefStarError):
    """The triplet is not what the person saw when deciding."""


class NotSaved(RefStarError):
    """The disk did not take the decision."""


class MaskReview:
    """The decisions on the triplets of a collection; one object at a time per collection, safe for threads.

    Args:
        root: folder of the collection.

    Attributes:
        states: id -> provenance, as it will stand in `meta.csv`.
        notes: what the person who starts the review should know.

    Raises:
        RefStarError: the folder is no collection, or is being reviewed already.
    """

    def __init__(self, root: Path):
        self.collection = TripletCollection(root)
        self.notes: list[str] = []
        self._lock = threading.Lock()
        self._history = self.collection.root / 'mask_history'
        self._journal = Journal(self.collection.root / 'decisions.jsonl')
        try:
            self.states = {name: self._state_at_start(name) for name in self.collection.triplets}
            self._history.mkdir(exist_ok=True)
            sync_folder(self.collection.root)
            self.collection.require_inside(self._history)
            self._repair()
            self.fold()
        except BaseException as error:
            self._journal.close()
            if isinstance(error, OSError):
                raise RefStarError(f'{self.collection.root}: cannot be written to ({error})') from error
            raise
        if gone := self.collection.left_out:
            self.notes.append(
                f'left out, files missing, of a kind browsers do not show, or links out of the folder: {_some(gone)}'
            )

    def _state_at_start(self, name: str) -> str:
        """The journal's; but where no decision stands, and meta.csv does not hold one either, that of meta.csv."""
        state, record = self.collection[name].provenance, self._journal.record(name)
        return record.last.now.state if record.last and (record.past or state in DECIDED) else state

    def summary(self, name: str) -> dict:
        """The short form of a triplet."""
        triplet, record = self.collection[name], self._journal.record(name)
        return {
            'id': name,
            'identity': triplet.identity,
            'confidence': triplet.confidence,
            'state': self.states[name],
            'reviewed': bool(record.past),
            'version': record.version,
        }

    def look(self, name: str) -> dict:
        """What a person has to know to decide on a triplet; the decision hands back its `version` and `mask`."""
        with self._lock:
            return self._look(name)

    def _look(self, name: str) -> dict:
        data = self.collection.read(name, 'mask')
        width, height, problem = 0, 0, ''
        try:
            width, height = self.collection.size(name)
            decode_mask(data, (width, height), f'mask/{name}.png')
        except OutsideRoot:
            raise
        except RefStarError as error:
            problem = str(error)
        return {
            **self.summary(name),
            'mask': _sha256(data),
            'details': self.collection[name].details,
            'problem': problem,
            'width': width,
            'height': height,
        }

    def counts(self) -> dict:
        """How many triplets there are, of each state, and of each state the reviewed ones."""
        reviewed = Counter(state for name, state in self.states.items() if self._journal.record(name).past)
        return {'total': len(self.states), 'states': Counter(self.states.values()), 'reviewed': reviewed}

    def decide(self, name: str, action: str, version: int, seen: str, edited: bytes = b'') -> dict:
        """Takes a decision; it is on disk when this returns.

        Args:
            name: id of the triplet.
            action: `accept`, `reject` or `undo` (takes back the latest decision on this triplet that still stands).
            version: the version that the person saw.
            seen: sha256 of the mask that the person saw.
            edited: with `accept`, the mask as the person changed it: a PNG; empty if it was not changed.

        Returns:
            The triplet as `look` gives it.

        Raises:
            Stale: version or mask have changed since.
            NotSaved: the disk did not take it.
            RefStarError: the decision makes no sense, or the mask is no 8-bit grey PNG of the reference's size.
        """
        with self._lock:
            data = self.collection.read(name, 'mask')
            if action not in ('accept', 'reject', 'undo'):
                raise RefStarError(f'an action is accept, reject or undo, not {action!r}')
            if edited and action != 'accept':
                raise RefStarError('a changed mask can only be accepted')
            if version != self._journal.record(name).version or seen != _sha256(data):
                raise Stale(f'{name} was decided or changed elsewhere since it was shown; nothing was saved')
            try:
                if action == 'accept':
                    state, new = self._accepted(name, data, edited)
                elif action == 'reject':
                    state, new = 'rejected', data
                else:
                    state, new = self._before(name, data)
                self._take(name, action, state, data, new)
            except OSError as error:
                raise NotSaved(f'{name}: the decision could not be written: {error}') from error
            return self._look(name)

    def _accepted(self, name: str, data: bytes, edited: bytes) -> tuple[str, bytes]:
        """State and mask file after an acceptance."""
        size = self.collection.size(name)
        mask, new = decode_mask(data, size, f'mask/{name}.png'), data
        if edited:
            drawn = decode_mask(edited, size, 'the changed mask')
            new = data if np.array_equal(drawn, mask) else encode_mask(drawn)
        first = next(iter(self._journal.record(name).past), Standing(self.states[name], _sha256(data)))
        by_hand = first.state == 'edited' or first.mask != _sha256(new)
        return 'edited' if by_hand else 'accepted', new

    def _before(self, name: str, data: bytes) -> tuple[str, bytes]:
        """State and mask file before the latest decision that still stands."""
        past = self._journal.record(name).past
        if not past:
            raise RefStarError(f'{name}: there is no decision to undo')
        same = past[-1].mask == _sha256(data)
        return past[-1].state, data if same else self._from_history(name, past[-1].mask)

    def _take(self, name: str, action: str, state: str, old: bytes, new: bytes) -> None:
        """The masks go into the history, then the decision into the journal, then the new mask into `mask/`."""
        now, was = Standing(state, _sha256(new)), Standing(self.states[name], _sha256(old))
        if new == old:
            self._write(name, action, now, was)
            return
        self._keep(name, old)
        self._keep(name, new)
        path = self.collection.file(name, 'mask')
        part = stage(path, new)
        self._write(name, action, now, was)
        publish(part, path)  # killed before this, `_repair` does it at the next start

    def _write(self, name: str, action: str, now: Standing, was: Standing) -> None:
        time = datetime.now(timezone.utc).isoformat(timespec='milliseconds')
        self._journal.append(Decision(name, self._journal.record(name).version + 1, action, now, was, time))
        self.states[name] = now.state

    def _history_file(self, name: str, mask: str) -> Path:
        return self._history / f'{name}.{mask[:16]}.png'

    def _keep(self, name: str, data: bytes) -> None:
        path = self._history_file(name, _sha256(data))
        if not path.exists():
            write_atomically(path, data)

    def _from_history(self, name: str, mask: str) -> bytes:
        path = self.collection.require_inside(self._history_file(name, mask))
        data = path.read_bytes() if path.is_file() else b''
        if _sha256(data) != mask:
            raise RefStarError(f'{path}: is missing or was changed; without it the mask of then cannot be had')
        return data

    def _repair(self) -> None:
        """Makes `mask/` agree with the journal, or the journal with a mask that another program replaced."""
        if self._journal.torn:
            self.notes.append('the last review was killed while it wrote a decision; that one was never confirmed')
        for folder in (self.collection.root / 'mask', self._history):
            for part in folder.glob('.*.part'):
                part.unlink()
        changed = []
        for name in self.states:
            record = self._journal.record(name)
            if record.last is None:
                continue
            now, was = record.last.now, record.last.was
            found = _sha256(self.collection.read(name, 'mask'))
            if found == now.mask:
                continue
            if found == was.mask and self._history_file(name, now.mask).exists():
                write_atomically(self.collection.file(name, 'mask'), self._from_history(name, now.mask))
                continue
            changed.append(name)
            meta = self.collection[name].provenance
            state = record.past[0].state if record.past and meta == now.state else meta
            self._write(name, 'changed', Standing(state, found), now)
        if changed:
            self.notes.append(
                f'another program replaced masks after their decision; review them again: {_some(changed)}'
            )

    def fold(self) -> None:
        """Writes the decisions into `meta.csv`, whole or not at all.

        Raises:
            RefStarError: meta.csv cannot be read or written.
        """
        with self._lock:
            decided = {name: state for name, state in self.states.items() if self._journal.record(name).last}
            self.collection.write_provenance(decided)

    def close(self) -> None:
        """Folds, and lets another process review."""
        try:
            self.fold()
        finally:
            self._journal.close()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:5]) + (f', ... ({len(names)})' if len(names) > 5 else '')
