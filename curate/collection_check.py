"""Look at every image of a collection: what is missing, corrupt, small or double, and who is in two splits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from refstar.data.collections.listing import Missing
from refstar.data.collections.manifest import photos_by_identity
from refstar.data.images import decode
from refstar.data.people_clusters import same_person
from refstar.utils.errors import RefStarError
from refstar.utils.parallel import parallel

from .collection import ImageList

HASH_SIDE = 16  # 256 bits; the usual 64 take aligned faces of different people for one photo
DISTANCE = 10  # bits; what was measured stands in docs/benchmarks.md
MAX_DISTANCE = 31
KINDS = ('missing', 'corrupt', 'too small', 'not square', 'duplicate')


class Scan(NamedTuple):
    """One look at an image file: why it cannot be read, or its size in pixels and perceptual hash (32 bytes)."""

    error: str = ''
    width: int = 0
    height: int = 0
    fingerprint: bytes = b''


@dataclass
class ListReport:
    """What one list holds, and what is wrong with it."""

    name: str
    split: str
    identities: int = 0  # people; 0 where they are not known
    images: int = 0  # photos (ground truth and references), each counted once
    degraded: int = 0  # ready LQ images
    sizes: tuple[int, int] | None = None  # smallest and largest side of the photos
    problems: dict[str, list[str]] = field(default_factory=dict)  # kind -> what

    def add(self, kind: str, what: str) -> None:
        """Add a problem."""
        self.problems.setdefault(kind, []).append(what)


class Leak(NamedTuple):
    """Somebody (a person's name, or a photo) in several splits: by what evidence, and split -> a photo of them."""

    who: str
    how: str
    splits: Mapping[str, str]


class _Read(NamedTuple):
    """A list with its photos (photo -> person) and degraded images."""

    list: ImageList
    report: ListReport
    photos: dict[Path, str]
    degraded: list[Path]


def check(
    lists: Sequence[ImageList], min_size: int = 0, distance: int | None = DISTANCE, jobs: int = 1
) -> tuple[list[ListReport], list[Leak]]:
    """Check the lists of a collection.

    Args:
        lists: the lists.
        min_size: photos with a shorter side are too small.
        distance: bits by which the fingerprints of two photos may differ that count as one; None: do not look.
        jobs: processes.

    Raises:
        RefStarError: a list is malformed, `distance` is not 0 to MAX_DISTANCE, or imagehash is not installed.
    """
    if distance is not None:
        if not 0 <= distance <= MAX_DISTANCE:
            raise RefStarError(f'the distance of duplicates must be 0 to {MAX_DISTANCE}, got {distance}')
        _imagehash()
    found = [_read(one) for one in lists]
    photos = list(dict.fromkeys(photo for one in found for photo in one.photos))
    look = partial(scan, hashed=distance is not None)
    scans = dict(zip(photos, parallel(look, photos, jobs, 'photos'), strict=True))
    degraded = list(dict.fromkeys(lq for one in found for lq in one.degraded if lq not in scans))
    scans |= zip(degraded, parallel(scan, degraded, jobs, 'degraded'), strict=True)
    good = [photo for photo in photos if scans[photo].fingerprint]
    groups = [] if distance is None else near_duplicates([scans[photo].fingerprint for photo in good], distance)
    same = [[good[i] for i in group] for group in groups]
    for one in found:
        _measure(one, scans, min_size)
        for group in same:
            own = [path for path in group if path in one.photos]
            if len(own) > 1:
                people = 'one person' if len({one.photos[path] for path in own}) == 1 else 'DIFFERENT people'
                one.report.add('duplicate', ' = '.join(map(str, own)) + ('' if one.list.unknown else f' ({people})'))
    return [one.report for one in found], leaks(found, same)


def scan(path: Path, hashed: bool = False) -> Scan:
    """Read an image whole and measure it; with its fingerprint if `hashed`."""
    try:
        img = decode(path, 'RGB')
    except RefStarError as error:
        return Scan(error=str(error))
    bits = np.packbits(_imagehash().phash(Image.fromarray(img), HASH_SIDE).hash).tobytes() if hashed else b''
    return Scan('', img.shape[1], img.shape[0], bits)


def near_duplicates(fingerprints: Sequence[bytes], distance: int) -> list[list[int]]:
    """Group fingerprints of which each differs from another of the group in at most `distance` bits.

    All are compared with all: 100,000 of 256 bits take about a minute on a core, much less than to read the photos.

    Returns:
        Groups of two or more indices, ascending, in the order of their first.
    """
    if not fingerprints:
        return []
    bits = np.unpackbits(np.frombuffer(b''.join(fingerprints), np.uint8).reshape(len(fingerprints), -1), axis=1)
    count = bits.shape[1]
    vectors = (2 * bits.astype(np.float32) - 1) / np.sqrt(count, dtype=np.float32)  # cosine is 1 - 2 * bits / count
    return [group.tolist() for group in same_person(vectors, (2 * distance + 1) / count) if len(group) > 1]


def _imagehash():
    try:
        import imagehash
    except ImportError:
        raise RefStarError("looking for duplicates needs imagehash: pip install 'refstar[data]'") from None
    return imagehash


def _read(one: ImageList) -> _Read:
    missing = Missing('drop')
    entries = one.read(missing)
    people = photos_by_identity(entries)
    if not entries and not missing.found:
        raise RefStarError(f'{one.name}: no image was found; expected folders of photos, photos, or a list of them')
    photos = {photo: person for person, own in people.items() for photo in own}
    degraded = list(dict.fromkeys(entry.lq for entry in entries if entry.lq is not None))
    report = ListReport(one.name, one.split, 0 if one.unknown else len(people), len(photos), len(degraded))
    report.problems = {kind: list(names) for kind, names in missing.found.items()}
    return _Read(one, report, photos, degraded)


def _measure(one: _Read, scans: dict[Path, Scan], min_size: int) -> None:
    sides = []
    for path in (*one.photos, *one.degraded):
        found = scans[path]
        if found.error:
            one.report.add('corrupt', found.error)
            continue
        size = f'{path}: {found.width}x{found.height}'
        if found.width != found.height:
            one.report.add('not square', size)
        if path in one.photos:
            sides.append(min(found.width, found.height))
            if sides[-1] < min_size:
                one.report.add('too small', size)
    one.report.sizes = (min(sides), max(sides)) if sides else None


def leaks(found: Sequence[_Read], same: Sequence[Sequence[Path]]) -> list[Leak]:
    """Find everybody who is in more than one split; several lists may be of one split.

    A person is one leak, by the strongest evidence: the name of a folder, then a file, then a photo that is there under
    two names (`same`: groups of duplicates).
    """
    by_name: dict[str, dict[str, Path]] = defaultdict(dict)
    by_file: dict[Path, dict[str, Path]] = defaultdict(dict)
    person: dict[Path, str] = {}
    for one in found:
        split = one.list.split
        for photo, name in one.photos.items():
            if one.list.named:
                by_name[name].setdefault(split, photo)
            person.setdefault(_file(photo), name)
        for photo in (*one.photos, *one.list.also):
            by_file[_file(photo)].setdefault(split, photo)
    evidence = [(name, 'same identity', splits) for name, splits in by_name.items()]
    evidence += [(person.get(file, str(file)), 'same file', splits) for file, splits in by_file.items()]
    for group in same:
        splits = {split: photo for photo in reversed(group) for split in by_file[_file(photo)]}
        evidence.append((person[_file(group[0])], 'same photo', splits))
    leaking: dict[str, Leak] = {}
    for who, how, splits in evidence:
        if len(splits) > 1 and who not in leaking:
            leaking[who] = Leak(who, how, {split: str(photo) for split, photo in splits.items()})
    return list(leaking.values())


def _file(photo: Path) -> Path:
    """Return the file itself, whatever way leads to it and whatever suffix a list gives it."""
    return photo.expanduser().absolute().with_suffix('')
