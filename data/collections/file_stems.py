"""Files paired by their stems: `lq/x.png` and `gt/x.png` with `ref/x.png`, or with every image in `ref/x/`."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from refstar.curate.image_tree import Tree
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import read_lines

from .entry import Entry
from .listing import Missing, folder, natural

KEYS = {'dataroot_ref', 'dataroot_gt', 'dataroot_lq', 'split_file', 'meta_info_file', 'meta_info_file_ref'}


def read_stems(opt: Mapping, missing: Missing) -> Iterator[Entry]:
    """Every image of `dataroot_lq` or `dataroot_gt` (one of the two may be missing) with its references.

    Raises:
        RefStarError: both are missing, or a folder or list is wrong.
    """
    roots = {key: folder(opt, key) for key in ('dataroot_lq', 'dataroot_gt') if opt.get(key)}
    if not roots:
        raise RefStarError('dataset: dataroot_ref needs dataroot_lq or dataroot_gt beside it')
    if opt.get('meta_info_file') and 'dataroot_gt' not in roots:
        raise RefStarError('dataset: meta_info_file lists images of dataroot_gt, which is not set')
    lists = {'dataroot_gt': opt.get('meta_info_file')}
    files = {key: by_stem(Tree(root, lists.get(key)).images(), missing) for key, root in roots.items()}
    ref_root = folder(opt, 'dataroot_ref')
    refs = _references(Tree(ref_root, opt.get('meta_info_file_ref')))
    first = 'dataroot_gt' if opt.get('meta_info_file') else next(iter(roots))
    wanted = set(read_lines(opt['split_file'])) if opt.get('split_file') else None
    for stem in sorted(files[first], key=natural):
        if wanted is not None and stem not in wanted:
            continue
        gone = [f'{roots[key]}/{stem}.*' for key in roots if stem not in files[key]]
        gone += [] if refs.get(stem) else [f'{ref_root}/{stem}.* or {ref_root}/{stem}/*']
        for what in gone:
            missing.note(what)
        gone += [files[key][stem] for key in roots if stem in files[key] and missing(files[key][stem])]
        found = tuple(ref for ref in refs.get(stem, ()) if not missing(ref))
        if gone or not found:
            missing.left_out += 1
            continue
        gt, lq = (files.get(key, {}).get(stem) for key in ('dataroot_gt', 'dataroot_lq'))
        yield Entry(stem, stem, gt, lq, found)


def by_stem(images: Iterable[Path], missing: Missing) -> dict[str, Path]:
    """Stem -> image; a second image of a stem is told to `missing`."""
    found: dict[str, Path] = {}
    for image in images:
        if found.setdefault(image.stem, image) is not image:
            missing.note(str(image), 'of one stem with another')
    return found


def _references(tree: Tree) -> dict[str, tuple[Path, ...]]:
    refs = {p.stem: (p,) for p in tree.images()}
    return refs | {name: tuple(tree.images(name)) for name in tree.folders() if name not in refs}
