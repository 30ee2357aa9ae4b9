"""A RefSel-HQ collection on disk: `gt/<id>.png`, `ref/<id>.png`, `mask/<id>.png`, listed in `meta.csv`."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from refstar.data.collections.listing import images_in, inside
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import open_image
from refstar.utils.text_files import read_csv, write_text

PARTS = ('gt', 'ref', 'mask')
SHOWN = {'.png': 'image/png', '.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.webp': 'image/webp', '.bmp': 'image/bmp'}
UNKNOWN = 'proposed'  # the provenance where meta.csv has none


class UnknownTriplet(RefStarError):
    """There is no such triplet, or a file of it is gone."""


class OutsideRoot(RefStarError):
    """A file of the collection is a link that leads out of it."""


@dataclass(frozen=True)
class Triplet:
    """One row of `meta.csv`.

    Args:
        name: its id.
        identity: the person, '' where meta.csv has none.
        confidence: of the mask, in [0, 1]; None where meta.csv has none.
        provenance: proposed, propagated, edited, accepted, rejected ...
        details: the other columns.
        files: part -> file.
    """

    name: str
    identity: str
    confidence: float | None
    provenance: str
    details: dict[str, str]
    files: dict[str, Path]


class TripletCollection:
    """The triplets below a folder, whose files a browser can show; never anything outside of that folder.

    Args:
        root: the folder. `meta.csv` has a column `id`, and may have `identity`, `confidence`, `provenance`.

    Raises:
        RefStarError: the folder is not of that form, or has no whole triplet.
    """

    def __init__(self, root: Path):
        self.root = root.expanduser().resolve()
        self.meta = self.root / 'meta.csv'
        for path in (self.meta, *(self.root / part for part in PARTS)):
            if not path.exists():
                raise RefStarError(f'{path}: is missing; a collection has gt/, ref/, mask/ and meta.csv')
            self.require_inside(path)
        self.left_out: list[str] = []
        self.triplets = self._read()
        if not self.triplets:
            raise RefStarError(f'{self.meta}: lists no triplet whose three files are there')

    def _read(self) -> dict[str, Triplet]:
        files = {part: {p.stem: p for p in images_in(self.root / part)} for part in PARTS}
        triplets: dict[str, Triplet] = {}
        for where, row in read_csv(str(self.meta), ['id']):
            name = row.pop('id')
            if inside(self.root, name, where).parent != self.root or not name.isprintable():
                raise RefStarError(f'{where}: id {name!r} must be a plain file name')
            if name in triplets:
                raise RefStarError(f'{where}: id {name!r} appears twice; remove one of the rows')
            identity, provenance = row.pop('identity', ''), row.pop('provenance', '') or UNKNOWN
            confidence = _confidence(row.pop('confidence', ''), where)
            found = {part: files[part].get(name) for part in PARTS}
            gone = [f'{part}/{name}' for part in PARTS if not self._usable(found[part], part)]
            if gone:
                self.left_out += gone
            else:
                triplets[name] = Triplet(name, identity, confidence, provenance, row, found)
        return triplets

    def _usable(self, path: Path | None, part: str) -> bool:
        suffixes = ['.png'] if part == 'mask' else SHOWN
        if path is None or path.suffix.lower() not in suffixes:
            return False
        return not path.is_symlink() or path.resolve().is_relative_to(self.root)

    def __getitem__(self, name: str) -> Triplet:
        """Raises `UnknownTriplet` where there is none of that name."""
        if name not in self.triplets:
            raise UnknownTriplet(f'there is no triplet {name!r}')
        return self.triplets[name]

    def require_inside(self, path: Path) -> Path:
        """The path itself.

        Raises:
            OutsideRoot: it is a link that leads out of the collection.
        """
        if not path.resolve().is_relative_to(self.root):
            raise OutsideRoot(f'{path}: is a link that leads out of {self.root}; put the file itself there')
        return path

    def file(self, name: str, part: str) -> Path:
        """A file of a triplet.

        Raises:
            RefStarError: there is no such triplet or part (`UnknownTriplet`), or it lies elsewhere (`OutsideRoot`).
        """
        path = self[name].files.get(part)
        if path is None:
            raise UnknownTriplet(f'a triplet has {", ".join(PARTS)}, not {part!r}')
        if not self.require_inside(path).is_file():
            raise UnknownTriplet(f'{path}: is gone')
        return path

    def read(self, name: str, part: str) -> bytes:
        """The content of a file; raises as `file`, and `RefStarError` where it cannot be read."""
        path = self.file(name, part)
        try:
            return path.read_bytes()
        except OSError as error:
            raise RefStarError(f'{path}: cannot be read ({error.strerror})') from None

    def size(self, name: str) -> tuple[int, int]:
        """(width, height) of a triplet's reference; raises as `file`, and `RefStarError` where it is no image."""
        with open_image(self.file(name, 'ref')) as file:
            return file.size

    def write_provenance(self, provenance: Mapping[str, str]) -> None:
        """Writes `meta.csv` anew, whole or not at all: the provenance of the given ids; all else stays as it is now.

        Raises:
            RefStarError: it cannot be read or written.
        """
        rows = [row for _, row in read_csv(str(self.meta), ['id'])]
        wrong = [row for row in rows if row.get('provenance') != provenance.get(row['id'], row.get('provenance'))]
        if not wrong:
            return
        for row in wrong:
            row['provenance'] = provenance[row['id']]
        text = io.StringIO()
        writer = csv.DictWriter(text, dict.fromkeys([*rows[0], 'provenance']), restval='', lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.meta, text.getvalue())


def _confidence(text: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise RefStarError(f'{where}: confidence {text!r} must be a number between 0 and 1')
    return value
