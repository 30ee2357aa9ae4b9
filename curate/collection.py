"""What a path given to `refstar data` or `refstar masks build` holds: lists of images, each with its split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from refstar.data.collections.listing import Entry, Missing, Tree, distinct, folder, inside
from refstar.data.collections.manifest import form_of, read_entries
from refstar.data.images import is_meta_info
from refstar.trainer.option_file import load_options
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import read_lines

PHOTO_LISTS = ('ReferencePairDataset', 'ReferenceTestDataset')  # types of data sets that read a list


@dataclass(frozen=True)
class ImageList:
    """One list of images; nobody may be in the lists of two splits."""

    name: str  # for messages
    split: str  # train, val, test ...
    opt: Mapping  # dataset options; with `dataroot` alone it may also be a folder of unknown people

    @property
    def unknown(self) -> bool:
        """Whether it is a folder of photos of unknown people."""
        return form_of(self.opt) == 'dataroot' and bool(self._tree().names())

    @property
    def named(self) -> bool:
        """Whether an identity's name means the same person in other lists too."""
        return form_of(self.opt) == 'dataroot' and not self.unknown

    def read(self, missing: Missing) -> Sequence[Entry]:
        """Read the images; what is missing is noted in `missing`."""
        if not self.unknown:
            return read_entries(self.opt, missing)
        tree, split = self._tree(), self.opt.get('split_file')
        if tree.folders():
            raise RefStarError(f'{self.name}: holds photos beside folders; move the photos into folders of their own')
        photos = [inside(tree.root, name, split) for name in read_lines(split)] if split else tree.images()
        there = (Entry(photo.stem, str(photo), photo, None, ()) for photo in photos if not missing(photo))
        return distinct(there, missing)

    def _tree(self) -> Tree:
        return Tree(folder(self.opt, 'dataroot'), self.opt.get('meta_info_file'))


def image_lists(root: str, roots: Mapping, split_files: Sequence[str] = ()) -> list[ImageList]:
    """Find the lists of one path.

    Args:
        root: a folder of identities or of photos, an lmdb, a csv, a `meta_info` file, or an option file.
        roots: `dataroot_gt`, `dataroot_lq`, `dataroot_ref` where they are given.
        split_files: lists of a share of `root` each, a split by the file's name; else the path is one split.

    Raises:
        RefStarError: it is none of these.
    """
    path = Path(root).expanduser()
    roots = {key: value for key, value in roots.items() if value}
    if path.suffix in ('.yml', '.yaml'):
        if split_files or roots:
            raise RefStarError(f'{root}: names its own folders; --splits, --gt, --lq, --ref cannot be used with it')
        sets = (load_options(root).get('datasets') or {}).items()
        found = {phase: opt for phase, opt in sets if isinstance(opt, dict) and opt.get('type') in PHOTO_LISTS}
        if not found:
            raise RefStarError(f'{root}: has no {" or ".join(PHOTO_LISTS)} to check')
        return [ImageList(f'{root}: {phase}', phase.split('_')[0], opt) for phase, opt in found.items()]
    opt = _options(path, roots)
    if not split_files:
        return [ImageList(str(root), str(root), opt)]
    return [ImageList(f'{root}: {file}', Path(file).stem, {**opt, 'split_file': file}) for file in split_files]


def _options(path: Path, roots: Mapping) -> dict:
    """Return the dataset options that describe one path."""
    if path.is_dir():
        if (path / 'mask').is_dir() and (path / 'meta.csv').is_file():
            raise RefStarError(f'{path}: is a collection of RefSel-HQ triplets; see `refstar masks`')
        if tables := sorted((path / 'reference_mapping').glob('*.csv')):
            raise RefStarError(f'{path}: is FFHQ-Ref; give its csv: {" ".join(map(str, tables))} --gt FOLDER')
        return {'dataroot_gt' if 'dataroot_ref' in roots else 'dataroot': str(path), **roots}
    if not path.is_file():
        raise RefStarError(f'{path}: there is no such folder or file')
    if path.suffix != '.csv' and not is_meta_info(read_lines(path)[0]):
        raise RefStarError(f'{path}: is no csv and no meta_info file (00001.png (512,512,3) a line)')
    if 'dataroot_gt' not in roots:
        raise RefStarError(f'{path}: needs --gt, the folder of the images that it names')
    if path.suffix == '.csv':
        return {'reference_csv': str(path), **roots}
    if 'dataroot_ref' in roots:
        return {'meta_info_file': str(path), **roots}
    return {'meta_info_file': str(path), 'dataroot': roots['dataroot_gt']}
