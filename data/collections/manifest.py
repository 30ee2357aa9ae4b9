"""Who is whose reference: reads every form of list that dataset options can describe.

Which form is meant follows from the keys, in this order:

* `reference_csv`: the csv of FFHQ-Ref and CelebA-Test-Ref (`reference_csv.py`);
* `dataroot_ref`: files paired by their stems;
* `dataroot`: a folder of photos per person, as CelebRef-HQ has them.

Every root may be an lmdb of BasicSR, a folder that ends in `.lmdb`; see `docs/data.md`.
"""

from collections import UserDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from refstar.utils.errors import RefStarError
from refstar.utils.option_block import Count, FilePath, OptionBlock
from refstar.utils.photo_files import natural
from refstar.utils.text_files import read_lines, shorten

from ..images import database_of
from .listing import Entry, Missing, Tree, distinct, folder, inside
from .reference_csv import CSV_KEYS, read_csv_entries


class ListOptions(OptionBlock):
    """Keys of every dataset that reads a list of photos."""

    split_file: FilePath | None = Field(
        None, description='text file with the identities (or stems, or GT names of a csv) to use, one per line'
    )
    missing: Literal['error', 'drop'] = Field(
        'error', description='what to do about files that are named but missing, and rows that are doubled'
    )
    max_images: Count | None = Field(None, description='use at most this many images, evenly spread over the list')


class ManifestOptions(ListOptions):
    """Keys that say who is whose reference."""

    dataroot: FilePath | None = Field(None, description='folder with one folder of photos per identity')
    reference_csv: FilePath | None = Field(
        None, description='FFHQ-Ref csv: gt_image, ref_image (a Python list literal), optionally lq_image and weight'
    )
    dataroot_gt: FilePath | None = Field(None, description='folder of the ground truth (csv, stems)')
    dataroot_lq: FilePath | None = Field(
        None, description='folder of ready degraded images (csv, stems); without it they are synthesised'
    )
    dataroot_ref: FilePath | None = Field(None, description='folder of the references (csv, stems)')
    meta_info_file: FilePath | None = Field(
        None, description='BasicSR meta_info file: the images of dataroot_gt (stems) or dataroot to use'
    )
    meta_info_file_ref: FilePath | None = Field(
        None, description='BasicSR meta_info file: the images of dataroot_ref to use (stems)'
    )


COMMON = {'io_backend', 'missing', 'max_images'}
FOLDER_KEYS = {'dataroot', 'split_file', 'meta_info_file'}
STEM_KEYS = {'dataroot_ref', 'dataroot_gt', 'dataroot_lq', 'split_file', 'meta_info_file', 'meta_info_file_ref'}


def read_manifest(opt: Mapping) -> Sequence[Entry]:
    """Read the list of images and references that dataset options describe, in a fixed order.

    Raises:
        RefStarError: a folder or file is missing or malformed, or nothing is left.
    """
    missing = Missing(opt.get('missing', 'error'))
    source = str(opt[form_of(opt)])
    entries = read_entries(opt, missing)
    missing.settle(source)
    if not entries:
        raise RefStarError(f'{source}: no image with its references was found')
    return evenly(entries, opt.get('max_images'))


def read_entries(opt: Mapping, missing: Missing) -> Sequence[Entry]:
    """Read as `read_manifest`, but leave out and note in `missing` what is missing or doubled; may be empty."""
    form = form_of(opt)
    read, known = FORMS[form]
    strange = [key for key in ManifestOptions.model_fields if opt.get(key) and key not in known | COMMON]
    if strange:
        raise RefStarError(f'dataset: {", ".join(strange)} cannot be used together with {form}')
    check_io_backend(opt)
    found = read(opt, missing)
    return found if isinstance(found, FolderEntries) else distinct(found, missing)


def form_of(opt: Mapping) -> str:
    """Return the key that marks the form of manifest which the options describe."""
    found = [form for form in FORMS if opt.get(form)]
    if not found:
        raise RefStarError('dataset: give dataroot (identity folders), reference_csv, or dataroot_ref (file stems)')
    return found[0]


def read_stems(opt: Mapping, missing: Missing) -> Iterator[Entry]:
    """Read files paired by their stems: `lq/x.png` and `gt/x.png` with `ref/x.png`, or every image in `ref/x/`.

    Raises:
        RefStarError: `dataroot_lq` and `dataroot_gt` are both missing, or a folder or list is wrong.
    """
    roots = {key: folder(opt, key) for key in ('dataroot_lq', 'dataroot_gt') if opt.get(key)}
    if not roots:
        raise RefStarError('dataset: dataroot_ref needs dataroot_lq or dataroot_gt beside it')
    if opt.get('meta_info_file') and 'dataroot_gt' not in roots:
        raise RefStarError('dataset: meta_info_file lists images of dataroot_gt, which is not set')
    lists = {'dataroot_gt': opt.get('meta_info_file')}
    files = {key: _by_stem(Tree(root, lists.get(key)).images(), missing) for key, root in roots.items()}
    ref_root = folder(opt, 'dataroot_ref')
    tree = Tree(ref_root, opt.get('meta_info_file_ref'))
    refs = {name: tree.images(name) for name in tree.folders()} | {path.stem: [path] for path in tree.images()}
    first = 'dataroot_gt' if opt.get('meta_info_file') else next(iter(roots))
    wanted = set(read_lines(opt['split_file'])) if opt.get('split_file') else None
    for stem in sorted(files[first], key=natural):
        if wanted is not None and stem not in wanted:
            continue
        images = {key: files[key].get(stem) for key in roots}
        gone = [f'{roots[key]}/{stem}.*' for key in roots if images[key] is None]
        if not refs.get(stem):
            gone.append(f'{ref_root}/{stem}.* or {ref_root}/{stem}/*')
        for what in gone:
            missing.note(what)
        gone += [image for image in images.values() if image and missing(image)]
        found = tuple(ref for ref in refs.get(stem, ()) if not missing(ref))
        if gone or not found:
            missing.left_out += 1
        else:
            yield Entry(stem, stem, images.get('dataroot_gt'), images.get('dataroot_lq'), found)


def _by_stem(images: Iterable[Path], missing: Missing) -> dict[str, Path]:
    """Return stem -> image; a second image of a stem is noted in `missing`."""
    found: dict[str, Path] = {}
    for image in images:
        if found.setdefault(image.stem, image) is not image:
            missing.note(str(image), 'of one stem with another')
    return found


class FolderPeople(UserDict):
    """Person (a folder of the root) -> all photos of them; kept as names, so that 100,000 people open fast."""

    def __init__(self, root: Path, names: dict[str, list[str]]):
        self.root, self.data = root, names

    def __getitem__(self, person: str) -> list[Path]:
        return [self.root / person / name for name in self.data[person]]


class FolderEntries(Sequence[Entry]):
    """Every photo of every person, with the person's others as its references; made when it is asked for."""

    def __init__(self, people: FolderPeople):
        self.people = people
        self._names = list(people)
        self._ends = np.cumsum([0, *(len(own) for own in people.data.values())], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Entry:
        index = range(len(self))[index]
        number = int(np.searchsorted(self._ends, index, side='right')) - 1
        photos = self.people[self._names[number]]
        gt = photos.pop(index - int(self._ends[number]))
        return Entry(f'{gt.parent.name}_{gt.stem}', self._names[number], gt, None, tuple(photos))


def read_identities(opt: Mapping, missing: Missing) -> FolderEntries:
    """Read a folder per person, as CelebRef-HQ has them; `meta_info_file` may list the photos to use.

    A person without photos, and a photo whose entry would have the name of another one, are left out.

    Raises:
        RefStarError: a folder or list is wrong.
    """
    root, split = folder(opt, 'dataroot'), opt.get('split_file')
    tree = Tree(root, opt.get('meta_info_file'))
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for person in read_lines(split) if split else tree.folders():
        if split:
            person = inside(root, person, split).relative_to(root).as_posix()
        names = tree.names(person)
        if not names:
            missing.note(str(root / person))
        kept, home = [], person.rpartition('/')[2]
        for name in names:
            entry = f'{home}_{name.rpartition(".")[0]}'
            if opt.get('meta_info_file') and missing(root / person / name):
                missing.left_out += 1
            elif entry in seen:
                missing.note_double(root / person / name, entry)
            else:
                seen.add(entry)
                kept.append(name)
        if kept:
            found[person] = found.get(person, []) + kept
    return FolderEntries(FolderPeople(root, found))


def check_io_backend(opt: Mapping) -> None:
    """Refuse BasicSR's key `io_backend` where it contradicts a root; the ending `.lmdb` of a root decides alone."""
    backend = opt.get('io_backend')
    for key in ('dataroot', 'dataroot_gt', 'dataroot_lq', 'dataroot_ref'):
        if backend and opt.get(key) and backend != {'type': 'lmdb' if database_of(opt[key]) else 'disk'}:
            raise RefStarError(
                f'dataset: io_backend must have type: lmdb where a root ends in .lmdb, else type: disk; '
                f'got {shorten(backend)} with {key}: {opt[key]}'
            )


def weights(entries: Sequence[Entry]) -> np.ndarray:
    """Return how often to draw each entry, relative to the others, (entries,)."""
    return np.ones(len(entries)) if isinstance(entries, FolderEntries) else np.array([e.weight for e in entries])


def without_gt(entries: Sequence[Entry]) -> bool:
    """Return whether any entry has no ground truth."""
    return not isinstance(entries, FolderEntries) and any(entry.gt is None for entry in entries)


def photos_by_identity(entries: Iterable[Entry]) -> Mapping[str, list[Path]]:
    """Return all photos of every person, in order of first mention."""
    if isinstance(entries, FolderEntries):
        return entries.people
    people: dict[str, dict[Path, None]] = {}
    for entry in entries:
        photos = people.setdefault(entry.identity, {})
        photos.update(dict.fromkeys(p for p in (entry.gt, *entry.refs) if p is not None))
    return {identity: list(photos) for identity, photos in people.items()}


def evenly(items: Sequence, limit: int | None) -> Sequence:
    """Return at most `limit` items, evenly spread over the list."""
    if limit is None:
        return items
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]


FORMS = {
    'reference_csv': (read_csv_entries, CSV_KEYS),
    'dataroot_ref': (read_stems, STEM_KEYS),
    'dataroot': (read_identities, FOLDER_KEYS),
}
