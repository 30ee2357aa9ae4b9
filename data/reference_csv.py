"""The csv of FFHQ-Ref: which images are references of which."""

import ast
from dataclasses import dataclass, replace

from ..errors import RefStarError
from .listing import read_csv


@dataclass(frozen=True)
class Row:
    """One line of the csv.

    Args:
        where: `file:line`, for messages.
        gt, lq: file names; `lq` is `gt` where the csv has no such column.
        refs: file names of the references, in the order of the csv.
        weight: how often to draw this image.
        person: rows that share a file, directly or through others, are the same person.
    """

    where: str
    gt: str
    lq: str
    refs: tuple[str, ...]
    weight: float
    person: str = ''


def read_reference_csv(path: str) -> list[Row]:
    """Reads the columns `gt_image`, `ref_image` (a Python list literal), and if present `lq_image` and `weight`.

    Raises:
        RefStarError: the file cannot be read, a column is missing, or a value is malformed; names file and line.
    """
    rows = []
    for where, row in read_csv(path, ['gt_image', 'ref_image']):
        refs = _name_list(row['ref_image'], where)
        rows.append(Row(where, row['gt_image'], row.get('lq_image') or row['gt_image'], refs, _weight(row, where)))
    people = _components([(row.gt, *row.refs) for row in rows])
    return [replace(row, person=people[row.gt]) for row in rows]


def _name_list(text: str, where: str) -> tuple[str, ...]:
    try:
        names = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        names = None
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise RefStarError(f"{where}: ref_image must be a list of file names such as ['a.png', 'b.png'], got {text!r}")
    return tuple(names)


def _weight(row: dict[str, str], where: str) -> float:
    text = row.get('weight') or 1
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float('inf'):
        raise RefStarError(f'{where}: weight must be a number of at least 0, got {text!r}')
    return weight


def _components(groups: list[tuple[str, ...]]) -> dict[str, str]:
    """Name -> the smallest name that it is connected with (union-find)."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for first, *others in groups:
        for other in others:
            low, high = sorted((find(first), find(other)))
            parent[high] = low
    return {name: find(name) for name in list(parent)}
