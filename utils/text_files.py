"""Text files and csv: errors name file and line; writes are atomic."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .atomic_files import write_atomically
from .errors import RefStarError


def shorten(value: object, limit: int = 120) -> str:
    """Return `repr(value)` for a message, cut in the middle where it is long."""
    text = repr(value)
    return text if len(text) <= limit else f'{text[: limit // 2]} ... {text[-limit // 2 :]}'


def read_text(path: str | Path) -> str:
    """Read UTF-8, with or without a byte order mark; every line ending becomes `\\n`.

    Raises:
        RefStarError: it cannot be read or is no text.
    """
    path = Path(path).expanduser()
    try:
        return path.read_text(encoding='utf-8-sig')
    except (OSError, ValueError) as error:
        raise RefStarError(f'{path}: cannot be read ({error})') from None


def numbered_lines(path: str | Path) -> list[tuple[str, str]]:
    """Read the lines that are not empty, without blanks around them, each with its `file:line`.

    Raises:
        RefStarError: the file cannot be read or has no line.
    """
    lines = [(f'{path}:{number}', line.strip()) for number, line in enumerate(read_text(path).split('\n'), 1)]
    lines = [(where, line) for where, line in lines if line]
    if not lines:
        raise RefStarError(f'{path}: is empty')
    return lines


def read_lines(path: str | Path) -> list[str]:
    """Read the lines that are not empty; errors as of `numbered_lines`."""
    return [line for _, line in numbered_lines(path)]


def read_csv(path: str | Path, columns: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Read the rows of a csv with a header, each with its `file:line`.

    Raises:
        RefStarError: it cannot be read, or a column is not in the header or not in a row.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path)), skipinitialspace=True)
        header = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        rows = [(f'{path}:{reader.line_num}', row) for row in reader]
    except csv.Error as error:
        raise RefStarError(f'{path}: is no csv ({error})') from None
    found = shorten(', '.join(header) or 'none')[1:-1]
    if absent := [column for column in columns if column not in header]:
        raise RefStarError(f'{path}: the header has no column {", ".join(absent)}; it has {found}')
    if len(set(header)) < len(header):
        raise RefStarError(f'{path}: the header names a column twice: {found}')
    for where, row in rows:
        if None in row.values() or None in row:
            raise RefStarError(f'{where}: expected {len(header)} fields ({found})')
    return rows


def write_text(path: str | Path, text: str, errors: str = 'strict') -> None:
    """Write a text file atomically; make its folder.

    With `errors='backslashreplace'`, names of files that are no text (bytes other than UTF-8) are escaped as in JSON.

    Raises:
        RefStarError: it cannot be written.
    """
    path = Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode(errors=errors))
    except (OSError, UnicodeEncodeError) as error:
        raise RefStarError(f'cannot write {path}: {error}') from None


def write_csv(path: str | Path, rows: Iterable[Mapping], columns: Iterable[str]) -> None:
    """Write the given columns of rows as a csv with a header, atomically; what a row lacks is left empty.

    Raises:
        RefStarError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval='', extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
