"""Who is whose reference: reads identity folders, a FFHQ-Ref csv, or files paired by their stems.

Which of the three is meant follows from the keys of the dataset options:

* `reference_csv`: a csv with the columns `gt_image`, `ref_image` (a Python list literal of file names), optionally
  `lq_image` and `weight`; names are relative to `dataroot_gt`, `dataroot_ref` (default: `dataroot_gt`), `dataroot_lq`.
* `dataroot_ref`: `<dataroot_lq>/x.png` and `<dataroot_gt>/x.png` (one of the two may be missing) with
  `<dataroot_ref>/x.png` or every image in `<dataroot_ref>/x/`.
* `dataroot`: `<dataroot>/<identity>/<file>`; every photo of a person has the others as its references.
  `split_file` lists the identities to use, one per line.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import RefStarError
from .listing import Missing, folder, images_in, inside, natural, read_lines
from .reference_csv import read_reference_csv

MANIFEST_KEYS = {
    'dataroot': 'folder with one folder of photos per identity',
    'split_file': 'text file with the identities (or ids) to use, one per line',
    'reference_csv': 'FFHQ-Ref csv: gt_image, ref_image (a Python list literal), optionally lq_image and weight',
    'dataroot_gt': 'folder of the ground truth (csv, stems)',
    'dataroot_lq': 'folder of ready degraded images (csv, stems); without it they are synthesised',
    'dataroot_ref': 'folder of the references (csv, stems)',
    'missing': 'what to do about files that are named but missing: error (default) or drop (and log)',
    'max_images': 'use at most this many images, evenly spread over the list',
}


@dataclass(frozen=True)
class Entry:
    """One image and its references.

    Args:
        name: unique and fit to be a file name; no suffix.
        identity: the person; entries of one person share it.
        gt: ground-truth file, None where there is none (real degraded photos).
        lq: degraded file, None where it is to be synthesised.
        refs: photos of the same person, the most useful first.
        weight: how often to draw this entry, relative to the others.
    """

    name: str
    identity: str
    gt: Path | None
    lq: Path | None
    refs: tuple[Path, ...]
    weight: float = 1.0


def read_manifest(opt: Mapping) -> list[Entry]:
    """Reads the list of images and references that dataset options describe, in a fixed order.

    Raises:
        RefStarError: a folder or file is missing or malformed, or nothing is left.
    """
    missing = Missing(opt.get('missing', 'error'))
    if opt.get('reference_csv'):
        source, entries = opt['reference_csv'], list(_from_csv(opt, missing))
    elif opt.get('dataroot_ref'):
        source, entries = opt['dataroot_ref'], list(_from_stems(opt, missing))
    elif opt.get('dataroot'):
        source, entries = opt['dataroot'], list(_from_identities(opt, missing))
    else:
        raise RefStarError('dataset: give dataroot (identity folders), reference_csv, or dataroot_ref (file stems)')
    missing.settle(source)
    if not entries:
        raise RefStarError(f'{source}: no image with its references was found')
    return evenly(entries, opt.get('max_images'))


def photos_by_identity(entries: Iterable[Entry]) -> dict[str, list[Path]]:
    """All photos of every person, in order of first mention."""
    people: dict[str, dict[Path, None]] = {}
    for entry in entries:
        photos = people.setdefault(entry.identity, {})
        photos.update(dict.fromkeys(p for p in (entry.gt, *entry.refs) if p is not None))
    return {identity: list(photos) for identity, photos in people.items()}


def evenly(items: Sequence, limit: int | None) -> list:
    """At most `limit` items, evenly spread over the list."""
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise RefStarError(f'max_images must be a whole number of at least 1, got {limit!r}')
    count = min(limit or len(items), len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _from_identities(opt: Mapping, missing: Missing) -> Iterator[Entry]:
    root = folder(opt, 'dataroot')
    if opt.get('split_file'):
        names = read_lines(opt['split_file'])
    else:
        names = sorted((p.name for p in root.iterdir() if p.is_dir()), key=natural)
    for name in names:
        home = inside(root, name, opt.get('split_file') or str(root))
        photos = images_in(home) if home.is_dir() else []
        if not photos:
            missing.note(str(home))
        for photo in photos:
            yield Entry(f'{home.name}_{photo.stem}', name, photo, None, tuple(p for p in photos if p != photo))


def _from_csv(opt: Mapping, missing: Missing) -> Iterator[Entry]:
    gt_root = folder(opt, 'dataroot_gt')
    ref_root = folder(opt, 'dataroot_ref') if opt.get('dataroot_ref') else gt_root
    lq_root = folder(opt, 'dataroot_lq') if opt.get('dataroot_lq') else None
    for row in read_reference_csv(opt['reference_csv']):
        gt = inside(gt_root, row.gt, row.where)
        lq = inside(lq_root, row.lq, row.where) if lq_root else None
        refs = [inside(ref_root, name, row.where) for name in row.refs]
        gone = [p for p in (gt, lq) if p is not None and missing(p)]
        refs = tuple(ref for ref in refs if not missing(ref))
        if refs and not gone:
            name = '_'.join(gt.relative_to(gt_root).with_suffix('').parts)
            yield Entry(name, row.person, gt, lq, refs, row.weight)


def _from_stems(opt: Mapping, missing: Missing) -> Iterator[Entry]:
    ref_root = folder(opt, 'dataroot_ref')
    roots = {key: folder(opt, key) for key in ('dataroot_lq', 'dataroot_gt') if opt.get(key)}
    if not roots:
        raise RefStarError('dataset: dataroot_ref needs dataroot_lq or dataroot_gt beside it')
    files = {key: {p.stem: p for p in images_in(root)} for key, root in roots.items()}
    refs = {p.stem: (p,) for p in images_in(ref_root)}
    refs |= {p.name: tuple(images_in(p)) for p in ref_root.iterdir() if p.is_dir() and p.name not in refs}
    first = next(iter(roots))
    wanted = set(read_lines(opt['split_file'])) if opt.get('split_file') else None
    for stem in sorted(files[first], key=natural):
        if wanted is not None and stem not in wanted:
            continue
        gone = [f'{roots[key]}/{stem}.*' for key in roots if stem not in files[key]]
        gone += [] if refs.get(stem) else [f'{ref_root}/{stem}.* or {ref_root}/{stem}/*']
        for what in gone:
            missing.note(what)
        if not gone:
            gt, lq = (files.get(key, {}).get(stem) for key in ('dataroot_gt', 'dataroot_lq'))
            yield Entry(stem, stem, gt, lq, refs[stem])
