"""Review of selection masks: every decision of a person is on disk before the next triplet is shown.

`meta.csv` of the collection holds the decisions: column `provenance` is `accepted`, `edited` or `rejected`, column
`reviewed` is the fingerprint of the mask that was decided on. A painted mask is written before `meta.csv`: a review
that was killed between the two shows the painted mask again, as to do.
"""

import hashlib
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
from filelock import FileLock, Timeout

from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import read_csv

from .triplet_collection import UNKNOWN, Triplet, TripletCollection, encode_mask

DECIDED = ('accepted', 'edited', 'rejected')


class StaleDecision(RefStarError):
    """Raised when a triplet changed after it was shown."""


@dataclass(frozen=True)
class Seen:
    """A triplet as it was shown; a decision hands it back."""

    triplet: Triplet
    data: bytes  # content of the mask file
    mask: np.ndarray | None  # (H, W) uint8; None where the mask file or the reference is broken
    problem: str  # what is broken, '' for nothing

    @property
    def name(self) -> str:
        """The id of the triplet."""
        return self.triplet.name


class MaskReview:
    """Decide on the triplets of a collection. One process at a time; safe for threads.

    Attributes:
        collection: the triplets, with the decisions that stand.
        notes: what the person who starts the review should know.

    Raises:
        RefStarError: the folder is no collection, cannot be written to, or is being reviewed or built already.
    """

    def __init__(self, root: Path) -> None:
        self.collection = TripletCollection(root)
        self._lock, self._history = Lock(), self.collection.root / 'mask_history'
        _refuse_journal(self.collection.root)
        with ExitStack() as stack:
            stack.enter_context(review_lock(self.collection.root))
            self.collection = TripletCollection(root)  # as it is now that nobody else changes it
            self._history.mkdir(exist_ok=True)
            self.collection.require_inside(self._history)
            changed = self._reopen_changed()
            self._held = stack.pop_all()
        notes = {'files missing or links out of the folder, left out': self.collection.left_out}
        notes['masks that are not those decided on, to do again'] = changed
        self.notes = [f'{what}: {", ".join(names)}' for what, names in notes.items() if names]

    def close(self) -> None:
        """Let another process review."""
        self._held.close()

    def counts(self) -> Counter:
        """Count the decisions that stand, by provenance."""
        return Counter(triplet.provenance for triplet in self.collection.triplets.values() if triplet.reviewed)

    def look(self, name: str) -> Seen:
        """Return a triplet to decide on.

        Raises:
            RefStarError: there is no such triplet, or its mask file cannot be read.
        """
        data, mask, problem = self.collection.read(name, 'mask'), None, ''
        try:
            mask = self.collection.read_mask(name)
        except RefStarError as error:
            problem = str(error)
        return Seen(self.collection.triplets[name], data, mask, problem)

    def accept(self, seen: Seen, painted: np.ndarray | None = None) -> Seen:
        """Accept a mask, (H, W) uint8 if a person painted it; on disk when this returns the triplet as it is now.

        Raises:
            StaleDecision: the triplet changed since it was shown.
            RefStarError: the mask is broken or has the wrong size, or the disk does not take the decision.
        """
        if seen.mask is None:
            raise RefStarError(f'{seen.problem}; this pair can only be rejected')
        if painted is None or np.array_equal(painted, seen.mask):
            provenance = 'edited' if seen.triplet.provenance == 'edited' else 'accepted'
            return self._write(seen, provenance, seen.data)
        if painted.shape != seen.mask.shape:
            raise RefStarError(f'{seen.name}: the painted mask must have the size of the reference')
        return self._write(seen, 'edited', encode_mask(painted))

    def reject(self, seen: Seen) -> Seen:
        """Reject a pair; on disk when this returns. Arguments, result and errors as of :meth:`accept`."""
        return self._write(seen, 'rejected', seen.data)

    def undo(self, before: Seen, after: Seen) -> Seen:
        """Take back the decision between the two, mask included. On disk, result and errors as of :meth:`accept`."""
        return self._write(after, before.triplet.provenance, before.data, before.triplet.reviewed)

    def _write(self, seen: Seen, provenance: str, data: bytes, reviewed: str | None = None) -> Seen:
        name = seen.name
        reviewed = fingerprint(data) if reviewed is None else reviewed
        with self._lock:
            if seen.data != self.collection.read(name, 'mask') or seen.triplet != self.collection.triplets[name]:
                raise StaleDecision(f'{name} was decided or changed elsewhere since it was shown; nothing was saved')
            try:
                if data != seen.data:
                    write_atomically(self._history / f'{name}.{fingerprint(seen.data)}.png', seen.data)
                    write_atomically(seen.triplet.files['mask'], data)
                self._update({name: {'provenance': provenance, 'reviewed': reviewed}})
            except OSError as error:
                raise RefStarError(f'{name}: the decision could not be written: {error}') from error
        return self.look(name)

    def _update(self, columns: dict[str, dict[str, str]]) -> None:
        self.collection.update(columns)
        for name, row in columns.items():
            self.collection.triplets[name] = replace(self.collection.triplets[name], **row)

    def _reopen_changed(self) -> list[str]:
        """Make triplets whose mask is not the one decided on to do again; return their ids."""
        columns = {}
        for name, triplet in self.collection.triplets.items():
            if triplet.reviewed and triplet.reviewed != fingerprint(self.collection.read(name, 'mask')):
                provenance = UNKNOWN if triplet.provenance in DECIDED else triplet.provenance
                columns[name] = {'provenance': provenance, 'reviewed': ''}
        self._update(columns)
        return list(columns)


@contextmanager
def review_lock(root: Path):
    """Hold the collection for one review or one build.

    Raises:
        RefStarError: another process holds it.
    """
    lock = FileLock(root / '.review.lock', timeout=0, thread_local=False)
    try:
        held = lock.acquire()
    except Timeout:
        raise RefStarError(f'{root}: another review or build of this folder is running; end it first') from None
    except OSError as error:
        raise RefStarError(f'{root}: cannot be written to ({error})') from None
    with held:
        yield


def decided(root: Path) -> dict[str, dict[str, str]]:
    """Read which triplets of a collection a person decided on: id -> its columns `provenance` and `reviewed`.

    Raises:
        RefStarError: `meta.csv` is malformed, or decisions of version 0.1.0 are there.
    """
    _refuse_journal(root)
    rows = [row for _, row in read_csv(str(root / 'meta.csv'), ['id'])] if (root / 'meta.csv').exists() else []
    return {r['id']: {key: r[key] for key in ('provenance', 'reviewed')} for r in rows if r.get('reviewed')}


def fingerprint(data: bytes) -> str:
    """Return the first 16 hex digits of the sha256 of a file's content."""
    return hashlib.sha256(data).hexdigest()[:16]


def _refuse_journal(root: Path) -> None:
    if (journal := root / 'decisions.jsonl').exists():
        raise RefStarError(f'{journal}: made by version 0.1.0; open the folder once with 0.1.0, or delete the file')
