"""A RefSel-HQ collection on disk: `gt/<id>.png`, `ref/<id>.png`, `mask/<id>.png`, listed in `meta.csv`."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from refstar.data.collections.listing import inside
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import open_image
from refstar.utils.photo_files import images_in
from refstar.utils.text_files import read_csv, write_csv

PARTS = ('gt', 'ref', 'mask')
UNKNOWN = 'proposed'  # the provenance where meta.csv has none


@dataclass(frozen=True)
class Triplet:
    """One row of `meta.csv`.

    Args:
        name: its id.
        identity: the person, '' where meta.csv has none.
        confidence: of the mask, in [0, 1]; None where meta.csv has none.
        provenance: proposed, propagated, edited, accepted, rejected ...
        reviewed: which mask a person decided on, see :mod:`mask_review`; '' for none.
        details: the other columns.
        files: part -> file.
    """

    name: str
    identity: str
    confidence: float | None
    provenance: str
    reviewed: str
    details: dict[str, str]
    files: dict[str, Path]


class TripletCollection:
    """The triplets below a folder; never a file outside of that folder.

    Args:
        root: the folder. `meta.csv` has a column `id`, and may have `identity`, `confidence`, `provenance`, `reviewed`.

    Attributes:
        triplets: id -> triplet.
        left_out: files that are missing or are links out of the folder; their triplets are not in `triplets`.

    Raises:
        RefStarError: the folder is not of that form, or has no whole triplet.
    """

    def __init__(self, root: Path) -> None:
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
            confidence, reviewed = _confidence(row.pop('confidence', ''), where), row.pop('reviewed', '')
            found = {part: files[part].get(name) for part in PARTS}
            gone = [f'{part}/{name}' for part in PARTS if not self._is_usable(found[part], part)]
            if gone:
                self.left_out += gone
            else:
                triplets[name] = Triplet(name, identity, confidence, provenance, reviewed, row, found)
        return triplets

    def _is_usable(self, path: Path | None, part: str) -> bool:
        if path is None or (part == 'mask' and path.suffix.lower() != '.png'):
            return False
        return not path.is_symlink() or path.resolve().is_relative_to(self.root)

    def require_inside(self, path: Path) -> Path:
        """Return the path itself.

        Raises:
            RefStarError: it is a link that leads out of the collection.
        """
        if not path.resolve().is_relative_to(self.root):
            raise RefStarError(f'{path}: is a link that leads out of {self.root}; put the file itself there')
        return path

    def read(self, name: str, part: str) -> bytes:
        """Return the content of a file of a triplet.

        Raises:
            RefStarError: there is no such triplet, the file is a link that leads out, or cannot be read.
        """
        if name not in self.triplets:
            raise RefStarError(f'there is no triplet {name!r}')
        path = self.require_inside(self.triplets[name].files[part])
        try:
            return path.read_bytes()
        except OSError as error:
            raise RefStarError(f'{path}: cannot be read ({error.strerror})') from None

    def read_mask(self, name: str) -> np.ndarray:
        """Return the mask of a triplet, (H, W) uint8.

        Raises:
            RefStarError: it is no 8-bit grey PNG of the size of the reference, or a file is broken; as :meth:`read`.
        """
        data, source = self.read(name, 'mask'), f'mask/{name}.png'
        with open_image(self.require_inside(self.triplets[name].files['ref'])) as file:
            width, height = file.size
        try:
            with Image.open(io.BytesIO(data), formats=['PNG']) as file:
                if file.mode != 'L':
                    raise RefStarError(f'{source}: must be an 8-bit grey PNG, its kind is {file.mode}')
                if file.size != (width, height):
                    size = f'{file.size[0]}x{file.size[1]}'
                    raise RefStarError(f'{source}: is {size}, the reference is {width}x{height}')
                return np.array(file)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise RefStarError(f'{source}: is a broken PNG ({error})') from None

    def update(self, columns: Mapping[str, Mapping[str, str]]) -> None:
        """Write `meta.csv` anew, whole or not at all: the given columns of the given ids; all else stays as it is now.

        Raises:
            RefStarError: it cannot be read or written.
        """
        rows = [row for _, row in read_csv(str(self.meta), ['id'])]
        wrong = [row for row in rows if not columns.get(row['id'], {}).items() <= row.items()]
        if not wrong:
            return
        for row in wrong:
            row |= columns[row['id']]
        write_csv(self.meta, rows, dict.fromkeys(key for row in rows for key in row))


def encode_mask(mask: np.ndarray) -> bytes:
    """Return (H, W) uint8 as the content of an 8-bit grey PNG."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, 'PNG', optimize=True)
    return file.getvalue()


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
