"""Who is whose reference: reads every form of list that dataset options can describe.

Which form is meant follows from the keys, in this order:

* `index_file`: the index of any other form (`index.py`);
* `reference_csv`: the csv of FFHQ-Ref and CelebA-Test-Ref (`reference_csv.py`);
* `dmdnet_list`: a test list of DMDNet (`dmdnet_list.py`);
* `dataroot_ref`: files paired by their stems (`file_stems.py`);
* `dataroot`: a folder of photos per person, as CelebRef-HQ has them (`identity_folders.py`).

Every root may be an lmdb of BasicSR, a folder that ends in `.lmdb`; see `docs/data.md`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refstar.utils.errors import RefStarError
from refstar.utils.text_files import shorten

from . import dmdnet_list, file_stems, identity_folders, index, reference_csv
from .entry import Entry
from .listing import Missing
from .lmdb_images import database_of

MANIFEST_KEYS = {
    'index_file': 'index that `refstar data index` made of any of these forms; dataroot: where the photos are now',
    'dataroot': 'folder with one folder of photos per identity',
    'split_file': 'text file with the identities (or stems, or GT names of a csv) to use, one per line',
    'reference_csv': 'FFHQ-Ref csv: gt_image, ref_image (a Python list literal), optionally lq_image and weight',
    'dmdnet_list': 'DMDNet list: lq<TAB>id_dir<TAB>landmark_dir or lq; relative to dataroot (default: current folder)',
    'dataroot_gt': 'folder of the ground truth (csv, stems, DMDNet list)',
    'dataroot_lq': 'folder of ready degraded images (csv, stems); without it they are synthesised',
    'dataroot_ref': 'folder of the references (csv, stems)',
    'meta_info_file': 'BasicSR meta_info file: the images of dataroot_gt (stems) or dataroot to use',
    'meta_info_file_ref': 'BasicSR meta_info file: the images of dataroot_ref to use (stems)',
    'io_backend': 'type: disk or lmdb, as in BasicSR; with lmdb every dataroot ends in .lmdb',
    'missing': 'what to do about files that are named but missing, rows that are doubled: error (default) or drop',
    'max_images': 'use at most this many images, evenly spread over the list',
}
COMMON = {'io_backend', 'missing', 'max_images'}


@dataclass(frozen=True)
class Form:
    """A form of manifest: the key that marks it, its reader, and the keys that the reader knows."""

    key: str
    read: Callable[[Mapping, Missing], Iterable[Entry]]
    keys: set[str]


FORMS = (
    Form('index_file', index.read_index, index.KEYS),
    Form('reference_csv', reference_csv.read_csv_entries, reference_csv.KEYS),
    Form('dmdnet_list', dmdnet_list.read_dmdnet_list, dmdnet_list.KEYS),
    Form('dataroot_ref', file_stems.read_stems, file_stems.KEYS),
    Form('dataroot', identity_folders.read_identities, identity_folders.KEYS),
)


def read_manifest(opt: Mapping) -> Sequence[Entry]:
    """Reads the list of images and references that dataset options describe, in a fixed order.

    Raises:
        RefStarError: a folder or file is missing or malformed, or nothing is left.
    """
    missing = Missing(opt.get('missing', 'error'))
    source = str(opt[form_of(opt).key])
    entries = read_entries(opt, missing)
    missing.settle(source)
    if not entries:
        raise RefStarError(f'{source}: no image with its references was found')
    return evenly(entries, opt.get('max_images'))


def read_entries(opt: Mapping, missing: Missing) -> Sequence[Entry]:
    """As `read_manifest`, but what is missing or doubled is only left out and told to `missing`; may be empty.

    Raises:
        RefStarError: a folder or list is missing or malformed.
    """
    form = form_of(opt)
    strange = [key for key in MANIFEST_KEYS if opt.get(key) and key not in form.keys | COMMON]
    if strange:
        raise RefStarError(f'dataset: {", ".join(strange)} cannot be used together with {form.key}')
    check_io_backend(opt)
    entries = form.read(opt, missing)
    return entries if isinstance(entries, index.Index) else distinct(entries, missing)


def form_of(opt: Mapping) -> Form:
    """The form of manifest that the options describe.

    Raises:
        RefStarError: none.
    """
    for form in FORMS:
        if opt.get(form.key):
            return form
    raise RefStarError(
        'dataset: give dataroot (identity folders), index_file, reference_csv, dmdnet_list, dataroot_ref'
    )


def check_io_backend(opt: Mapping) -> None:
    """Checks BasicSR's key `io_backend` against the roots, if it is given; without it the ending `.lmdb` decides.

    Raises:
        RefStarError: it is malformed or contradicts a root.
    """
    backend = opt.get('io_backend')
    if not backend:
        return
    kind = backend.get('type') if isinstance(backend, Mapping) else None
    if kind not in ('disk', 'lmdb'):
        raise RefStarError(f'dataset: io_backend must have type: disk or type: lmdb, got {shorten(backend)}')
    for key in ('dataroot', 'dataroot_gt', 'dataroot_lq', 'dataroot_ref'):
        is_lmdb = bool(opt.get(key)) and database_of(Path(opt[key])) is not None
        if opt.get(key) and is_lmdb != (kind == 'lmdb'):
            raise RefStarError(
                f'dataset: io_backend: {{type: {kind}}}, but {key}: {opt[key]} '
                + ('ends in .lmdb' if is_lmdb else 'does not end in .lmdb')
            )


def distinct(entries: Iterable[Entry], missing: Missing) -> list[Entry]:
    """The entries without later ones of the same name, which are told to `missing`."""
    kept: dict[str, Entry] = {}
    for entry in entries:
        if kept.setdefault(entry.name, entry) is not entry:
            missing.note(f'{entry.gt or entry.lq} (as {entry.name})', 'listed twice or of one name with another')
            missing.left_out += 1
    return list(kept.values())


def weights(entries: Sequence[Entry]) -> np.ndarray:
    """How often to draw each entry, relative to the others, (entries,)."""
    return entries.weights if isinstance(entries, index.Index) else np.array([entry.weight for entry in entries])


def without_gt(entries: Sequence[Entry]) -> bool:
    """Whether any entry has no ground truth."""
    if isinstance(entries, index.Index):
        return bool((entries.gt < 0).any())
    return any(entry.gt is None for entry in entries)


def photos_by_identity(entries: Iterable[Entry]) -> Mapping[str, list[Path]]:
    """All photos of every person, in order of first mention."""
    if isinstance(entries, index.Index):
        return index.People(entries)
    people: dict[str, dict[Path, None]] = {}
    for entry in entries:
        photos = people.setdefault(entry.identity, {})
        photos.update(dict.fromkeys(p for p in (entry.gt, *entry.refs) if p is not None))
    return {identity: list(photos) for identity, photos in people.items()}


def evenly(items: Sequence, limit: int | None) -> Sequence:
    """At most `limit` items, evenly spread over the list."""
    if limit is None:
        return items
    if not isinstance(limit, int) or limit < 1:
        raise RefStarError(f'max_images must be a whole number of at least 1, got {limit!r}')
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]
