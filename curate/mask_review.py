"""Review of selection masks: decisions of a person, each on disk before the next triplet is shown.

`meta.csv` of the collection holds the decisions: column `provenance` is `accepted`, `edited` or `rejected`, column
`reviewed` is the fingerprint of the mask that was decided on. A painted mask replaces `mask/<id>.png`. Both masks stay
in `mask_history/`, as `<id>.<fingerprint>.png` and `<id>.<fingerprint>.painted.png`, before `meta.csv` is written; so
a review that was killed between `meta.csv` and the mask is finished at the next start.
"""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import read_csv

from .triplet_collection import TripletCollection, encode_mask

JOURNAL = 'decisions.jsonl'  # of version 0.1.0
DECIDED = ('accepted', 'edited', 'rejected')


class StaleDecision(RefStarError):
    """Raised when a triplet changed after it was shown."""


@dataclass(frozen=True)
class Seen:
    """A triplet as it was shown; a decision hands it back.

    Args:
        name: id of the triplet.
        provenance: of the mask.
        reviewed: column `reviewed` of `meta.csv`.
        data: content of the mask file.
        mask: (H, W) uint8; None where the mask file or the reference is broken.
        problem: what is broken, '' for nothing.
    """

    name: str
    provenance: str
    reviewed: str
    data: bytes
    mask: np.ndarray | None
    problem: str


class MaskReview:
    """Decide on the triplets of a collection. One process at a time; safe for threads.

    Args:
        root: folder of the collection.

    Attributes:
        notes: what the person who starts the review should know.

    Raises:
        RefStarError: the folder is no collection, cannot be written to, or is being reviewed or built already.
    """

    def __init__(self, root: Path) -> None:
        self.collection = TripletCollection(root)
        self.notes: list[str] = []
        self._threads = threading.Lock()
        self._history = self.collection.root / 'mask_history'
        self._held = ExitStack()
        self._held.enter_context(review_lock(self.collection.root))
        try:
            self._history.mkdir(exist_ok=True)
            self.collection.require_inside(self._history)
            if self.collection.require_inside(self.collection.root / JOURNAL).exists():
                self._fold_journal()
                self.collection = TripletCollection(root)
            self._standing = {
                name: (triplet.provenance, triplet.reviewed) for name, triplet in self.collection.triplets.items()
            }
            self._finish_masks()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise RefStarError(f'{self.collection.root}: cannot be written to ({error})') from error
            raise
        if gone := self.collection.left_out:
            self.notes.append(f'left out, files missing or links out of the folder: {_some(gone)}')

    def close(self) -> None:
        """Let another process review."""
        self._held.close()

    # ----------------------------------------------------------------- what there is
    def is_done(self, name: str) -> bool:
        """Return whether a decision on the triplet stands."""
        return bool(self._standing[name][1])

    def provenance(self, name: str) -> str:
        """Return the provenance of the mask."""
        return self._standing[name][0]

    def counts(self) -> Counter:
        """Count the decisions that stand, by provenance."""
        return Counter(provenance for provenance, reviewed in self._standing.values() if reviewed)

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
        return Seen(name, *self._standing[name], data, mask, problem)

    # ----------------------------------------------------------------- decisions
    def accept(self, seen: Seen, painted: np.ndarray | None = None) -> Seen:
        """Accept a mask; on disk when this returns.

        Args:
            seen: the triplet as it was shown.
            painted: (H, W) uint8, the mask as the person changed it; None: as it was shown.

        Returns:
            The triplet as it stands now.

        Raises:
            StaleDecision: the triplet changed since it was shown.
            RefStarError: the mask is broken or has the wrong size, or the disk does not take the decision.
        """
        if seen.mask is None:
            raise RefStarError(f'{seen.problem}; this pair can only be rejected')
        if painted is not None and painted.shape != seen.mask.shape:
            raise RefStarError(f'{seen.name}: the painted mask must have the size of the reference')
        if painted is not None and not np.array_equal(painted, seen.mask):
            return self._write(seen, 'edited', encode_mask(painted))
        by_person = seen.provenance == 'edited' or self._kept(seen.name, fingerprint(seen.data), '.painted').is_file()
        return self._write(seen, 'edited' if by_person else 'accepted', seen.data)

    def reject(self, seen: Seen) -> Seen:
        """Reject a pair; on disk when this returns. Arguments, result and errors as of :meth:`accept`."""
        return self._write(seen, 'rejected', seen.data)

    def undo(self, before: Seen, after: Seen) -> Seen:
        """Take back a decision, mask included; on disk when this returns.

        Args:
            before: the triplet as it was shown before the decision.
            after: what the decision returned.

        Raises:
            StaleDecision: it was decided on again since.
            RefStarError: the disk does not take it.
        """
        return self._write(after, before.provenance, before.data, before.reviewed)

    def _write(self, seen: Seen, provenance: str, data: bytes, reviewed: str | None = None) -> Seen:
        name = seen.name
        reviewed = fingerprint(data) if reviewed is None else reviewed
        with self._threads:
            now = self.collection.read(name, 'mask')
            if now != seen.data or self._standing[name] != (seen.provenance, seen.reviewed):
                raise StaleDecision(f'{name} was decided or changed elsewhere since it was shown; nothing was saved')
            try:
                if data != now:
                    self._keep(name, now, '')
                    self._keep(name, data, '.painted' if provenance == 'edited' else '')
                self.collection.update({name: {'provenance': provenance, 'reviewed': reviewed}})
                self._standing[name] = provenance, reviewed
                if data != now:
                    write_atomically(self.collection.triplets[name].files['mask'], data)
            except OSError as error:
                raise RefStarError(f'{name}: the decision could not be written: {error}') from error
        return self.look(name)

    def _kept(self, name: str, mark: str, suffix: str = '') -> Path:
        return self._history / f'{name}.{mark}{suffix}.png'

    def _keep(self, name: str, data: bytes, suffix: str) -> None:
        if not any(self._kept(name, fingerprint(data), other).exists() for other in {'.painted', suffix}):
            write_atomically(self._kept(name, fingerprint(data), suffix), data)

    # ----------------------------------------------------------------- at the start
    def _finish_masks(self) -> None:
        """Finish masks whose decision was killed, and put back to do what another program replaced since."""
        replaced = {}
        for name, (provenance, reviewed) in self._standing.items():
            found = fingerprint(self.collection.read(name, 'mask')) if reviewed else ''
            if found == reviewed:
                continue
            wanted, ours = ([self._kept(name, mark, end) for end in ('.painted', '')] for mark in (reviewed, found))
            wanted = next((path for path in wanted if path.is_file()), None)
            if wanted and any(path.is_file() for path in ours):
                write_atomically(self.collection.triplets[name].files['mask'], wanted.read_bytes())
            else:
                replaced[name] = {'provenance': 'proposed' if provenance in DECIDED else provenance, 'reviewed': ''}
        if replaced:
            self.collection.update(replaced)
            self._standing |= {name: (row['provenance'], '') for name, row in replaced.items()}
            self.notes.append(
                f'another program replaced masks after their decision; review them again: {_some(list(replaced))}'
            )

    def _fold_journal(self) -> None:
        """Write the decisions of version 0.1.0 into `meta.csv` and rename its journal."""
        journal, last, standing = self.collection.root / JOURNAL, {}, Counter()
        for number, line in enumerate(journal.read_bytes().split(b'\n')[:-1], 1):  # an unfinished line never counted
            try:
                decision = json.loads(line)
                name, action, now = decision['id'], decision['action'], decision['now']
                last[name] = now['state'], now['mask']
            except (ValueError, KeyError, TypeError) as error:
                raise RefStarError(f'{journal}:{number}: is no decision ({error}); move the file away') from None
            step = {'accept': 1, 'reject': 1, 'undo': -1}.get(action)
            standing[name] = 0 if step is None else standing[name] + step
        rows = {}
        for name in last.keys() & self.collection.triplets.keys():
            state, mask = last[name]
            rows[name] = {'provenance': state, 'reviewed': mask[:16] if standing[name] > 0 else ''}
        self.collection.update(rows)
        journal.rename(journal.with_suffix('.jsonl.folded'))
        self.notes.append(f'{JOURNAL} of version 0.1.0 was read into meta.csv and renamed to {JOURNAL}.folded')


@contextmanager
def review_lock(root: Path):
    """Hold the collection for one review or one build.

    Raises:
        RefStarError: another process holds it.
    """
    lock = FileLock(root / '.review.lock', timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise RefStarError(f'{root}: another review or build of this folder is running; end it first') from None
    except OSError as error:
        raise RefStarError(f'{root}: cannot be written to ({error})') from None
    try:
        yield
    finally:
        lock.release()


def decided(root: Path) -> dict[str, dict[str, str]]:
    """Read which triplets of a collection a person decided on: id -> its columns `provenance` and `reviewed`.

    Raises:
        RefStarError: `meta.csv` is malformed, or decisions of version 0.1.0 are still in its journal.
    """
    if (root / JOURNAL).exists():
        raise RefStarError(f'{root / JOURNAL}: was written by version 0.1.0; run `refstar masks review {root}` once')
    if not (root / 'meta.csv').exists():
        return {}
    rows = [row for _, row in read_csv(str(root / 'meta.csv'), ['id'])]
    return {r['id']: {key: r[key] for key in ('provenance', 'reviewed')} for r in rows if r.get('reviewed')}


def fingerprint(data: bytes) -> str:
    """Return the first 16 hex digits of the sha256 of a file's content."""
    return hashlib.sha256(data).hexdigest()[:16]


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:5]) + (f', ... ({len(names)})' if len(names) > 5 else '')
