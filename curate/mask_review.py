"""Review of selection masks: every decision of a person is on disk before the next triplet is shown.

`meta.csv` of the collection holds the decisions: column `provenance` is `accepted`, `edited` or `rejected`, column
`reviewed` is the fingerprint of the mask that was decided on. A painted mask is written before `meta.csv`: a review
that was killed between the two shows the painted mask again, as to do.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout
from PIL import Image

from refstar.data.refsel_dataset import PARTS, read_triplets
from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import open_image
from refstar.utils.text_files import read_csv, write_csv

UNKNOWN = 'proposed'  # the provenance where meta.csv has none


class StaleDecision(RefStarError):
    """Raised when a triplet changed after it was shown."""


@dataclass(frozen=True)
class Seen:
    """A triplet as it was shown; a decision hands it back."""

    name: str  # its id
    row: Mapping[str, str]  # of meta.csv
    data: bytes  # content of the mask file
    mask: np.ndarray | None  # (H, W) uint8; None where the mask file or the reference is broken
    problem: str  # what is broken, '' for nothing


class MaskReview:
    """Decide on the triplets of a collection. One process at a time; safe for threads.

    Attributes:
        rows: id -> row of `meta.csv`, with the decisions that stand; `confidence` is a number or None.
        notes: what the person who starts the review should know.

    Raises:
        RefStarError: the folder is no collection, cannot be written to, or is being reviewed or built already.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self._meta, self._lock = self.root / 'meta.csv', Lock()
        for path in (self._meta, *(self.root / part for part in PARTS)):
            if not path.exists():
                raise RefStarError(f'{path}: is missing; a collection has gt/, ref/, mask/ and meta.csv')
        self._held = review_lock(self.root)
        try:
            left_out = self._read()
        except RefStarError:
            self.close()
            raise
        self.notes = [f'files missing, left out: {", ".join(left_out)}'] if left_out else []

    def _read(self) -> list[str]:
        """Read the triplets whose files are there; return the files of others."""
        self.rows: dict[str, dict] = {}
        self._files: dict[str, dict[str, Path]] = {}
        left_out = []
        for where, row, files in read_triplets(self.root):
            row |= {'confidence': _confidence(row.get('confidence', ''), where), 'reviewed': row.get('reviewed', '')}
            row['provenance'] = row.get('provenance') or UNKNOWN
            gone = [f'{part}/{row["id"]}' for part in PARTS if files[part] is None]
            gone += [f'mask/{row["id"]}'] * bool(files['mask'] and files['mask'].suffix.lower() != '.png')
            left_out += gone
            if not gone:
                self.rows[row['id']], self._files[row['id']] = row, files
        if not self.rows:
            raise RefStarError(f'{self._meta}: lists no triplet whose three files are there')
        return left_out

    def close(self) -> None:
        """Let another process review."""
        self._held.lock.release()

    def counts(self) -> Counter:
        """Count the decisions that stand, by provenance."""
        return Counter(row['provenance'] for row in self.rows.values() if row['reviewed'])

    def read(self, name: str, part: str) -> bytes:
        """Return the content of a file of a triplet: of its part `gt`, `ref` or `mask`.

        Raises:
            RefStarError: there is no such triplet, or the file cannot be read.
        """
        if name not in self.rows:
            raise RefStarError(f'there is no triplet {name!r}')
        try:
            return self._files[name][part].read_bytes()
        except OSError as error:
            raise RefStarError(f'{self._files[name][part]}: cannot be read ({error.strerror})') from None

    def look(self, name: str) -> Seen:
        """Return a triplet to decide on; errors as of `read`."""
        data = self.read(name, 'mask')
        try:
            return Seen(name, dict(self.rows[name]), data, self._decode(name, data), '')
        except RefStarError as error:
            return Seen(name, dict(self.rows[name]), data, None, str(error))

    def _decode(self, name: str, data: bytes) -> np.ndarray:
        """Return the mask (H, W) uint8; it must be an 8-bit grey PNG of the size of the reference."""
        source = f'mask/{name}.png'
        with open_image(self._files[name]['ref']) as reference, open_image(data, source) as file:
            if (file.format, file.mode) != ('PNG', 'L'):
                raise RefStarError(f'{source}: must be an 8-bit grey PNG, is {file.format} of kind {file.mode}')
            if file.size != reference.size:
                sizes = ('x'.join(map(str, one.size)) for one in (file, reference))
                raise RefStarError(f'{source}: is {", the reference is ".join(sizes)}')
            return np.array(file)

    def accept(self, seen: Seen, painted: np.ndarray | None = None) -> Seen:
        """Accept a mask, (H, W) uint8 if a person painted it; on disk when this returns the triplet as it is now.

        Raises:
            StaleDecision: the triplet changed since it was shown.
            RefStarError: the mask is broken or has the wrong size, or the disk does not take the decision.
        """
        if seen.mask is None:
            raise RefStarError(f'{seen.problem}; this pair can only be rejected')
        if painted is None or np.array_equal(painted, seen.mask):
            provenance = 'edited' if seen.row['provenance'] == 'edited' else 'accepted'
            return self._write(seen, provenance, seen.data)
        if painted.shape != seen.mask.shape:
            raise RefStarError(f'{seen.name}: the painted mask must have the size of the reference')
        file = io.BytesIO()
        Image.fromarray(painted).save(file, 'PNG', optimize=True)
        return self._write(seen, 'edited', file.getvalue())

    def reject(self, seen: Seen) -> Seen:
        """Reject a pair; on disk when this returns. Arguments, result and errors as of :meth:`accept`."""
        return self._write(seen, 'rejected', seen.data)

    def undo(self, before: Seen, after: Seen) -> Seen:
        """Take back the decision between the two, mask included. On disk, result and errors as of :meth:`accept`."""
        return self._write(after, before.row['provenance'], before.data, before.row['reviewed'])

    def _write(self, seen: Seen, provenance: str, data: bytes, reviewed: str | None = None) -> Seen:
        name = seen.name
        reviewed = fingerprint(data) if reviewed is None else reviewed
        with self._lock:
            if seen.data != self.read(name, 'mask') or seen.row != self.rows[name]:
                raise StaleDecision(f'{name} was decided or changed elsewhere since it was shown; nothing was saved')
            try:
                if data != seen.data:
                    write_atomically(self._files[name]['mask'], data)
                self._update(name, {'provenance': provenance, 'reviewed': reviewed})
            except OSError as error:
                raise RefStarError(f'{name}: the decision could not be written: {error}') from error
        return self.look(name)

    def _update(self, name: str, columns: Mapping[str, str]) -> None:
        """Write columns of an id, in `meta.csv` as it is now, whole or not at all."""
        rows = [row for _, row in read_csv(str(self._meta), ['id'])]
        for row in rows:
            row |= columns if row['id'] == name else {}
        write_csv(self._meta, rows, dict.fromkeys(key for row in rows for key in row))
        self.rows[name] |= columns


def review_lock(root: Path) -> AcquireReturnProxy:
    """Hold the collection for one review or one build, till the end of the context that is returned.

    Raises:
        RefStarError: another process holds it.
    """
    lock = FileLock(root / '.review.lock', timeout=0, thread_local=False)
    try:
        return lock.acquire()
    except Timeout:
        raise RefStarError(f'{root}: another review or build of this folder is running; end it first') from None
    except OSError as error:
        raise RefStarError(f'{root}: cannot be written to ({error})') from None


def decided(root: Path) -> dict[str, dict[str, str]]:
    """Read which triplets of a collection a person decided on: id -> its columns `provenance` and `reviewed`.

    Raises:
        RefStarError: `meta.csv` is malformed.
    """
    rows = [row for _, row in read_csv(str(root / 'meta.csv'), ['id'])] if (root / 'meta.csv').exists() else []
    return {r['id']: {key: r[key] for key in ('provenance', 'reviewed')} for r in rows if r.get('reviewed')}


def fingerprint(data: bytes) -> str:
    """Return the first 16 hex digits of the sha256 of a file's content."""
    return hashlib.sha256(data).hexdigest()[:16]


def _confidence(text: str, where: str) -> float | None:
    try:
        value = float(text) if text.strip() else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value <= 1:
        raise RefStarError(f'{where}: confidence {text!r} must be a number between 0 and 1')
    return value
