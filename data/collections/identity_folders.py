"""A folder of photos per person, `<dataroot>/<identity>/<file>`, as CelebRef-HQ has them; and photos of unknown people.

The root may be an lmdb whose keys are `<identity>/<name>`, and a `meta_info` file may list the photos to use.
"""

from collections.abc import Iterator, Mapping

from refstar.curate.image_tree import Tree
from refstar.utils.text_files import read_lines

from .entry import Entry
from .listing import Missing, folder, inside

KEYS = {'dataroot', 'split_file', 'meta_info_file'}


def read_identities(opt: Mapping, missing: Missing) -> Iterator[Entry]:
    """Every photo of a person, with the person's others as its references."""
    root = folder(opt, 'dataroot')
    tree = Tree(root, opt.get('meta_info_file'))
    for name in read_lines(opt['split_file']) if opt.get('split_file') else tree.folders():
        home = inside(root, name, opt.get('split_file') or str(root))
        listed = tree.images(home.relative_to(root).as_posix())
        if not listed:
            missing.note(str(home))
        photos = [photo for photo in listed if not missing(photo)]
        missing.left_out += len(listed) - len(photos)
        for photo in photos:
            yield Entry(f'{home.name}_{photo.stem}', name, photo, None, tuple(p for p in photos if p != photo))


def read_unknown(opt: Mapping, missing: Missing) -> Iterator[Entry]:
    """Photos directly below `dataroot`, each a person of its own: for `refstar data`, not for training."""
    root = folder(opt, 'dataroot')
    if opt.get('split_file'):
        photos = [inside(root, name, opt['split_file']) for name in read_lines(opt['split_file'])]
    else:
        photos = Tree(root, opt.get('meta_info_file')).images()
    for photo in photos:
        if not missing(photo):
            yield Entry(photo.stem, str(photo), photo, None, ())
