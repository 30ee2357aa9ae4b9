"""DMDNet's test lists: a line is `lq<TAB>id_dir<TAB>landmark_dir`, or `lq` alone where there is no reference."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from refstar.curate.image_tree import Tree
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import numbered_lines, shorten

from .entry import Entry
from .file_stems import by_stem
from .listing import Missing, folder, inside

KEYS = {'dmdnet_list', 'dataroot', 'dataroot_gt'}


def read_dmdnet_list(opt: Mapping, missing: Missing) -> Iterator[Entry]:
    """Every degraded image of the list, with all images of its `id_dir` as references.

    Paths are relative to `dataroot`, which is the current folder by default, as in DMDNet. The landmark folders are not
    read: nothing here needs them. A ground truth is looked for in `dataroot_gt` by the image's stem, if that is given.

    Raises:
        RefStarError: a line has another form.
    """
    root = folder(opt, 'dataroot') if opt.get('dataroot') else Path()
    truths = by_stem(Tree(folder(opt, 'dataroot_gt')).images(), missing) if opt.get('dataroot_gt') else None
    for where, line in numbered_lines(opt['dmdnet_list']):
        fields = line.split('\t')
        if len(fields) not in (1, 3):
            raise RefStarError(f'{where}: expected lq or lq<TAB>id_dir<TAB>landmark_dir, got {shorten(line)}')
        lq, *folders = (inside(root, name, where) for name in fields)
        person = folders[0].relative_to(root).as_posix() if folders else lq.stem
        refs = tuple(Tree(folders[0]).images()) if folders else ()
        gone = missing(lq)
        if folders and not refs:
            missing.note(str(folders[0]))
            gone = True
        if truths is not None and lq.stem not in truths:
            missing.note(f'{opt["dataroot_gt"]}/{lq.stem}.*')
            gone = True
        if gone:
            missing.left_out += 1
        else:
            yield Entry(lq.stem, person, truths and truths[lq.stem], lq, refs)
