"""The csv of FFHQ-Ref and CelebA-Test-Ref: which images are references of which.

Train form `gt_image,ref_image`, val and test form `gt_image,lq_image,ref_image`, both with an optional `weight`.
"""

import ast
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.text_files import read_csv, read_lines, shorten, write_csv

from ..people_clusters import components
from .listing import Entry, Missing, folder, inside

CSV_KEYS = {'reference_csv', 'dataroot_gt', 'dataroot_lq', 'dataroot_ref', 'split_file'}
TWICE = 'listed twice'
ITSELF = 'its own reference'


class Row(NamedTuple):
    """One row of the csv, with file names."""

    where: str  # `file:line`, for messages
    gt: str
    lq: str  # `gt` where the csv has no such column
    refs: tuple[str, ...]  # in the order of the csv
    weight: float = 1.0  # how often to draw this image
    person: str = ''  # rows that share a file, directly or through others, are the same person


def read_csv_entries(opt: Mapping, missing: Missing) -> Iterator[Entry]:
    """Read every row whose files are there; names are relative to `dataroot_gt`, `dataroot_ref` and `dataroot_lq`.

    A missing reference is left out of its row. A row without references, or without its image, is left out whole.
    """
    gt_root = folder(opt, 'dataroot_gt')
    ref_root = folder(opt, 'dataroot_ref') if opt.get('dataroot_ref') else gt_root
    lq_root = folder(opt, 'dataroot_lq') if opt.get('dataroot_lq') else None
    wanted = set(read_lines(opt['split_file'])) if opt.get('split_file') else None
    seen: set[Path] = set()
    for row in read_reference_csv(opt['reference_csv']):
        if wanted is not None and row.gt not in wanted:
            continue
        gt = inside(gt_root, row.gt, row.where)
        lq = inside(lq_root, row.lq, row.where) if lq_root else None
        refs = dict.fromkeys(inside(ref_root, name, row.where) for name in row.refs)
        if len(refs) < len(row.refs):
            missing.note(f'a reference at {row.where}', TWICE)
        if gt in refs:
            missing.note(f'{row.gt} at {row.where}', ITSELF)
            del refs[gt]
        if gt in seen:
            missing.note(f'{row.gt} at {row.where}', TWICE)
        gone = [p for p in (gt, lq) if p is not None and missing(p)]
        found = tuple(ref for ref in refs if not missing(ref))
        if gone or not found or gt in seen:
            missing.left_out += 1
            continue
        seen.add(gt)
        name = '_'.join(gt.relative_to(gt_root).with_suffix('').parts)
        yield Entry(name, row.person, gt, lq, found, row.weight)


def read_reference_csv(path: str | Path) -> list[Row]:
    """Read the columns `gt_image`, `ref_image` (a Python list literal), and if present `lq_image` and `weight`.

    Raises:
        RefStarError: the file cannot be read, a column is missing, or a value is malformed; names file and line.
    """
    rows = []
    for where, row in read_csv(path, ['gt_image', 'ref_image']):
        refs = _name_list(row['ref_image'], where)
        try:
            weight = float(row.get('weight') or 1)
        except ValueError:
            weight = -1.0
        if not 0 <= weight < float('inf'):
            raise RefStarError(f'{where}: weight must be a number of at least 0, got {shorten(row["weight"])}')
        rows.append(Row(where, row['gt_image'], row.get('lq_image') or row['gt_image'], refs, weight))
    return [row._replace(person=person) for row, person in zip(rows, _people(rows), strict=True)]


def write_reference_csv(path: str | Path, rows: Sequence[Row], with_lq: bool) -> None:
    """Write the train form, or with the column `lq_image` the val and test form; `weight` where one is not 1."""
    weighted = any(row.weight != 1 for row in rows)
    columns = ['gt_image', *(['lq_image'] if with_lq else []), 'ref_image', *(['weight'] if weighted else [])]
    names = ({'gt_image': row.gt, 'lq_image': row.lq, 'ref_image': str(list(row.refs))} for row in rows)
    write_csv(path, ({**files, 'weight': f'{row.weight:g}'} for files, row in zip(names, rows, strict=True)), columns)


def _name_list(text: str, where: str) -> tuple[str, ...]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', SyntaxWarning)  # '\d' in a name
            names = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        names = None
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        example = "['a.png', 'b.png']"
        raise RefStarError(f'{where}: ref_image must be a list of file names such as {example}, got {shorten(text)}')
    return tuple(names)


def _people(rows: list[Row]) -> list[str]:
    """Return for each row the person: the smallest name among the files that rows connect with each other."""
    names = sorted({name for row in rows for name in (row.gt, *row.refs)})
    number = {name: i for i, name in enumerate(names)}
    links = [(number[row.gt], number[ref]) for row in rows for ref in row.refs]
    first: dict[int, str] = {}
    label = components(len(names), *np.array(links, int).reshape(-1, 2).T)
    for name, person in zip(names, label.tolist(), strict=True):
        first.setdefault(person, name)
    return [first[label[number[row.gt]]] for row in rows]
