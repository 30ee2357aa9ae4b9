"""A folder of photos per person, `<dataroot>/<identity>/<file>`, as CelebRef-HQ has them.

The root may be an lmdb whose keys are `<identity>/<name>`, and a `meta_info` file may list the photos to use.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from refstar.utils.text_files import read_lines

from .listing import Entry, Missing, Tree, folder, inside

FOLDER_KEYS = {'dataroot', 'split_file', 'meta_info_file'}


class FolderEntries(Sequence[Entry]):
    """Every photo of a person, with the person's others as its references.

    An entry becomes an object when it is asked for: so 100,000 people are open in two seconds. `names` maps a person, a
    folder of the tree, to the names of the photos in it.
    """

    def __init__(self, tree: Tree, names: Mapping[str, Sequence[str]]):
        self.tree, self.names = tree, names
        self.identities = list(names)
        self._ends = np.cumsum([len(own) for own in names.values()], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Entry:
        index = range(len(self))[index]
        person = int(np.searchsorted(self._ends, index, side='right'))
        identity = self.identities[person]
        photos = self.photos(identity)
        gt = photos.pop(index - int(self._ends[person]))  # counted from the end of the person's photos
        return Entry(f'{gt.parent.name}_{gt.stem}', identity, gt, None, tuple(photos))

    def photos(self, identity: str) -> list[Path]:
        """Return all photos of a person."""
        return [self.tree.root / identity / name for name in self.tree.ordered(self.names[identity])]


class FolderPeople(Mapping[str, list[Path]]):
    """All photos of every person of `FolderEntries`."""

    def __init__(self, entries: FolderEntries):
        self.entries = entries

    def __getitem__(self, identity: str) -> list[Path]:
        return self.entries.photos(identity)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries.names)

    def __len__(self) -> int:
        return len(self.entries.names)


def read_identities(opt: Mapping, missing: Missing) -> FolderEntries:
    """Read a folder per person; a person without photos, and a photo of a name that another one has, are left out.

    Raises:
        RefStarError: a folder or list is wrong.
    """
    root = folder(opt, 'dataroot')
    tree = Tree(root, opt.get('meta_info_file'))
    split = opt.get('split_file')
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for person in read_lines(split) if split else tree.folders():
        if split:
            person = inside(root, person, split).relative_to(root).as_posix()
        names = tree.names(person)
        if not names:
            missing.note(str(root / person))
        if opt.get('meta_info_file'):
            there = [name for name in names if not missing(root / person / name)]
            missing.left_out += len(names) - len(there)
            names = there
        if names := _distinct(tree, person, names, seen, missing):
            found[person] = found.get(person, []) + names
    return FolderEntries(tree, found)


def _distinct(tree: Tree, person: str, names: list[str], seen: set[str], missing: Missing) -> list[str]:
    """Return the names without those whose entry would be named as one in `seen`; these are noted in `missing`."""
    home = person.rpartition('/')[2]
    entries = [f'{home}_{name.rpartition(".")[0]}' for name in names]
    if len(set(entries)) == len(names) and seen.isdisjoint(entries):
        seen.update(entries)
        return names
    kept = []
    for name in tree.ordered(names):
        if (entry := f'{home}_{name.rpartition(".")[0]}') in seen:
            missing.note_double(tree.root / person / name, entry)
        else:
            seen.add(entry)
            kept.append(name)
    return kept
