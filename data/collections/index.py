"""An index: all that a list of images says, in one file that opens at once, however many people are in it.

Names are kept as one run of bytes and references as numbers of photos; an entry becomes an object when it is asked for.
What the index names is believed: a photo that is gone since is an error when it is read.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError

from .entry import Entry
from .listing import Missing, inside

FORMAT = 'refstar.index.1'
KEYS = {'index_file', 'dataroot'}


class Texts(Sequence[str]):
    """Many short texts in two arrays.

    Args:
        data: UTF-8 of all of them, uint8 (bytes,).
        ends: where each ends, int64 (texts,).
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        self.data, self.ends = data, ends

    @classmethod
    def pack(cls, texts: Iterable[str]) -> 'Texts':
        coded = [os.fsencode(text) for text in texts]
        return cls(np.frombuffer(b''.join(coded), np.uint8), np.cumsum([len(c) for c in coded], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: int) -> str:
        return self.data[self.ends[i - 1] if i else 0 : self.ends[i]].tobytes().decode(errors='surrogateescape')


class Lists(Sequence[np.ndarray]):
    """Many short lists of numbers in two arrays.

    Args:
        data: the numbers of all of them, int32 (numbers,).
        ends: where each ends, int64 (lists,).
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        self.data, self.ends = data, ends

    @classmethod
    def pack(cls, lists: Iterable[Sequence[int]]) -> 'Lists':
        lists = list(lists)
        ends = np.cumsum([len(numbers) for numbers in lists], dtype=np.int64)
        return cls(np.array([n for numbers in lists for n in numbers], np.int32), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.data[self.ends[i - 1] if i else 0 : self.ends[i]]


class People(Mapping[str, list[Path]]):
    """The photos of every person."""

    def __init__(self, index: 'Index'):
        self.index = index
        self.numbers = {name: i for i, name in enumerate(index.identities)}

    def __getitem__(self, identity: str) -> list[Path]:
        return self.index.paths(self.index.photos[self.numbers[identity]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


class Index(Sequence[Entry]):
    """The entries of an index file, made when they are asked for.

    Args:
        file: written by `write_index`.
        root: folder of the photos, where they are not where they were then.

    Raises:
        RefStarError: it is no index.
    """

    def __init__(self, file: str | Path, root: str | Path | None = None):
        try:
            with safe_open(file, 'np') as content:
                note = json.loads((content.metadata() or {}).get('refstar', '{}'))
                tables = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
            if note.get('format') != FORMAT:
                raise RefStarError(f'{file}: is no index of format {FORMAT}; make it again: refstar data index')
            self.root = Path(root or note['root'])
            self.files, self.names, self.identities = (Texts(*_pair(tables, key)) for key in TEXTS)
            self.refs, self.photos = (Lists(*_pair(tables, key)) for key in LISTS)
            self.gt, self.lq, self.identity, self.weights = (tables[key] for key in NUMBERS)
        except FileNotFoundError:
            raise RefStarError(f'index_file: there is no {file}') from None
        except (SafetensorError, OSError, KeyError, ValueError, AttributeError) as error:
            raise RefStarError(f'{file}: is no index, or a broken one ({error}): refstar data index') from None
        self._check(file)

    def _check(self, file: str | Path) -> None:
        """Every number must lead to a photo or a person: an index may come from a stranger."""
        count, entries = len(self.files), len(self.names)
        sound = all(len(column) == entries for column in (self.gt, self.lq, self.identity, self.weights, self.refs))
        sound &= len(self.photos) == len(self.identities)
        ranges = [(self.gt, -1, count), (self.lq, -1, count), (self.identity, 0, len(self.identities))]
        ranges += [(table.data, 0, count) for table in (self.refs, self.photos)]
        sound &= all(not len(x) or (x.min() >= low and x.max() < high) for x, low, high in ranges)
        for table in (self.files, self.names, self.identities, self.refs, self.photos):
            sound &= bool((np.diff(table.ends, prepend=0) >= 0).all()) and table.ends[-1:].sum() == len(table.data)
            sound &= table.data.dtype == (np.uint8 if isinstance(table, Texts) else np.int32)
        if not sound:
            raise RefStarError(f'{file}: is a broken index: refstar data index')

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Entry:
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        i %= len(self)
        gt, lq = (self.paths([number])[0] if number >= 0 else None for number in (self.gt[i], self.lq[i]))
        refs = tuple(self.paths(self.refs[i]))
        return Entry(self.names[i], self.identities[self.identity[i]], gt, lq, refs, float(self.weights[i]))

    def paths(self, numbers: Iterable[int]) -> list[Path]:
        """The photos of these numbers."""
        return [inside(self.root, self.files[number], 'index_file') for number in numbers]


TEXTS, LISTS, NUMBERS = ('files', 'names', 'identities'), ('refs', 'photos'), ('gt', 'lq', 'identity', 'weights')


def _pair(tables: Mapping[str, np.ndarray], key: str) -> tuple[np.ndarray, np.ndarray]:
    return tables[f'{key}.data'], tables[f'{key}.ends']


def read_index(opt: Mapping, _: Missing) -> Index:
    """The index that dataset options name; `dataroot` stands for the folder that it was made of."""
    return Index(opt['index_file'], opt.get('dataroot'))


def write_index(file: Path, entries: Sequence[Entry], people: Mapping[str, Sequence[Path]]) -> None:
    """Writes an index, whole or not at all.

    Args:
        file: to write.
        entries: what it shall say.
        people: all photos of every person (`manifest.photos_by_identity`).

    Raises:
        RefStarError: it cannot be written.
    """
    used = [path for entry in entries for path in (entry.gt, entry.lq, *entry.refs) if path is not None]
    numbers = {path: i for i, path in enumerate(dict.fromkeys(os.path.abspath(path) for path in used))}
    root = os.path.commonpath([os.path.dirname(path) for path in numbers])
    who = {identity: i for i, identity in enumerate(people)}

    def number(path: Path | None) -> int:
        return -1 if path is None else numbers[os.path.abspath(path)]

    tables = {
        'files': Texts.pack(os.path.relpath(path, root) for path in numbers),
        'names': Texts.pack(entry.name for entry in entries),
        'identities': Texts.pack(people),
        'refs': Lists.pack([number(path) for path in entry.refs] for entry in entries),
        'photos': Lists.pack([number(path) for path in photos] for photos in people.values()),
    }
    content = {f'{key}.{part}': getattr(table, part) for key, table in tables.items() for part in ('data', 'ends')}
    content['gt'] = np.array([number(entry.gt) for entry in entries], np.int32)
    content['lq'] = np.array([number(entry.lq) for entry in entries], np.int32)
    content['identity'] = np.array([who[entry.identity] for entry in entries], np.int32)
    content['weights'] = np.array([entry.weight for entry in entries], np.float32)
    note = {'refstar': json.dumps({'format': FORMAT, 'root': root})}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, save(content, note))
    except OSError as error:
        raise RefStarError(f'cannot write {file}: {error}') from None
