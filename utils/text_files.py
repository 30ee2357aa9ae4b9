"""Lists and tables written by people and scripts: read whole, refused with file and line where they are malformed."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from .atomic_files import write_atomically
from .errors import RefStarError

MAX_LINE = 1_000_000  # characters
MAX_BYTES = 1 << 30


def shorten(value: object, limit: int = 120) -> str:
    """`repr(value)` for a message, cut in the middle where it is long."""
    text = repr(value)
    return text if len(text) <= limit else f'{text[: limit // 2]} ... {text[-limit // 2 :]}'


def read_text(path: str | Path) -> str:
    """A text file, UTF-8 with or without a byte order mark; every line ending becomes `\\n`.

    Raises:
        RefStarError: it cannot be read, is no text, or has a line that no list of files can have.
    """
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RefStarError(f'{path}: is {path.stat().st_size >> 20} MB, too much for a list of files')
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, ValueError) as error:
        if isinstance(error, RefStarError):
            raise
        raise RefStarError(f'{path}: cannot be read ({error})') from None
    for number, line in enumerate(text.split('\n'), 1):
        if len(line) > MAX_LINE:
            raise RefStarError(f'{path}:{number}: has {len(line)} characters, too many for a line of a list')
    return text


def numbered_lines(path: str | Path) -> list[tuple[str, str]]:
    """The lines of a text file without blanks, each with its `file:line`.

    Raises:
        RefStarError: it cannot be read or has no line.
    """
    lines = [(f'{path}:{number}', line.strip()) for number, line in enumerate(read_text(path).split('\n'), 1)]
    lines = [(where, line) for where, line in lines if line]
    if not lines:
        raise RefStarError(f'{path}: is empty')
    return lines


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file, without blanks.

    Raises:
        RefStarError: it cannot be read or has no line.
    """
    return [line for _, line in numbered_lines(path)]


def read_csv(path: str | Path, columns: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a csv with a header, each with its `file:line`.

    Raises:
        RefStarError: it cannot be read, or a column is not in the header or not in a row.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path)), skipinitialspace=True)
        header = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        rows = [(f'{path}:{reader.line_num}', row) for row in reader]
    except csv.Error as error:
        raise RefStarError(f'{path}: is no csv ({error})') from None
    found = shorten(', '.join(header) or 'none')
    if absent := [column for column in columns if column not in header]:
        raise RefStarError(f'{path}: the header has no column {", ".join(absent)}; it has {found[1:-1]}')
    if len(set(header)) < len(header):
        raise RefStarError(f'{path}: the header names a column twice: {found[1:-1]}')
    for where, row in rows:
        if None in row.values() or None in row:
            raise RefStarError(f'{where}: expected {len(header)} fields ({found[1:-1]})')
    return rows


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file whole or not at all; its folder is made.

    Raises:
        RefStarError: it cannot be written.
    """
    path = Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except (OSError, UnicodeEncodeError) as error:
        raise RefStarError(f'cannot write {path}: {error}') from None
