"""Look at every image of a collection: what is missing, corrupt, small or double, and who is in two splits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.fft import dctn

from refstar.data.collections.listing import Missing
from refstar.data.collections.manifest import photos_by_identity
from refstar.data.images import decode
from refstar.data.people_clusters import same_person
from refstar.utils.errors import RefStarError
from refstar.utils.parallel import parallel

from .collection import ImageList

HASH_SIDE, HASHED = 16, 64  # 256 bits, of a picture of that side; 64 bits take aligned faces of two people for one
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

    list: ImageList
    photos: Mapping[Path, str]  # ground truth and references, each once -> person
    degraded: Sequence[Path]  # ready LQ images
    problems: dict[str, list[str]]  # kind -> what
    sizes: tuple[int, int] | None = field(default=None)  # smallest and largest side of the photos

    def add(self, kind: str, what: str) -> None:
        """Add a problem."""
        self.problems.setdefault(kind, []).append(what)

    def summary(self) -> dict:
        """Return counts and problems, as JSON can hold them; `identities` is 0 where the people are not known."""
        return {
            'name': self.list.name,
            'split': self.list.split,
            'identities': 0 if self.list.unknown else len(set(self.photos.values())),
            'images': len(self.photos),
            'degraded': len(self.degraded),
            'sizes': self.sizes,
            'problems': self.problems,
        }


def check(
    lists: Sequence[ImageList], min_size: int = 0, distance: int | None = DISTANCE, jobs: int = 1
) -> tuple[list[dict], list[dict]]:
    """Check the lists of a collection.

    Args:
        lists: the lists.
        min_size: photos with a shorter side are too small.
        distance: bits by which the fingerprints of two photos may differ that count as one; None: do not look.
        jobs: processes.

    Returns:
        Summaries of `ListReport`, and `leaks`.

    Raises:
        RefStarError: a list is malformed, or `distance` is not 0 to MAX_DISTANCE.
    """
    if distance is not None and not 0 <= distance <= MAX_DISTANCE:
        raise RefStarError(f'the distance of duplicates must be 0 to {MAX_DISTANCE}, got {distance}')
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
                one.add('duplicate', ' = '.join(map(str, own)) + ('' if one.list.unknown else f' ({people})'))
    return [one.summary() for one in found], leaks(found, same)


def scan(path: Path, hashed: bool = False) -> Scan:
    """Read an image whole and measure it; with its fingerprint if `hashed`."""
    try:
        img = decode(path, 'RGB')
    except RefStarError as error:
        return Scan(error=str(error))
    return Scan('', img.shape[1], img.shape[0], fingerprint(img) if hashed else b'')


def fingerprint(img: np.ndarray) -> bytes:
    """Return the perceptual hash of an image (H, W, 3) RGB uint8: signs of its low frequencies about their median."""
    small = Image.fromarray(img).convert('L').resize((HASHED, HASHED), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(small, np.float64))[:HASH_SIDE, :HASH_SIDE]
    return np.packbits(low > np.median(low)).tobytes()


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


def _read(one: ImageList) -> ListReport:
    missing = Missing('drop')
    entries = one.read(missing)
    if not entries and not missing.found:
        raise RefStarError(f'{one.name}: no image was found; expected folders of photos, photos, or a list of them')
    photos = {photo: person for person, own in photos_by_identity(entries).items() for photo in own}
    degraded = list(dict.fromkeys(entry.lq for entry in entries if entry.lq is not None))
    return ListReport(one, photos, degraded, {kind: list(names) for kind, names in missing.found.items()})


def _measure(one: ListReport, scans: Mapping[Path, Scan], min_size: int) -> None:
    sides = []
    for path in (*one.photos, *one.degraded):
        found = scans[path]
        if found.error:
            one.add('corrupt', found.error)
            continue
        size = f'{path}: {found.width}x{found.height}'
        if found.width != found.height:
            one.add('not square', size)
        if path in one.photos:
            sides.append(min(found.width, found.height))
            if sides[-1] < min_size:
                one.add('too small', size)
    one.sizes = (min(sides), max(sides)) if sides else None


def leaks(found: Sequence[ListReport], same: Sequence[Sequence[Path]]) -> list[dict]:
    """Find everybody who is in more than one split; several lists may be of one split.

    Args:
        found: the lists.
        same: groups of photos that are one under several names.

    Returns:
        A leak for every person: `who` (a person's name, or a photo), `how` it is known, by the strongest evidence (the
        name of a folder, then a file, then a double photo), and `splits`: split -> a photo of them.
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
            by_file[_file(photo)].setdefault(split, photo)
    evidence = [(name, 'same identity', splits) for name, splits in by_name.items()]
    evidence += [(person[file], 'same file', splits) for file, splits in by_file.items()]
    for group in same:
        splits = {split: photo for photo in reversed(group) for split in by_file[_file(photo)]}
        evidence.append((person[_file(group[0])], 'same photo', splits))
    leaking = {}
    for who, how, splits in evidence:
        if len(splits) > 1 and who not in leaking:
            leaking[who] = {'who': who, 'how': how, 'splits': {split: str(photo) for split, photo in splits.items()}}
    return list(leaking.values())


def _file(photo: Path) -> Path:
    """Return the file itself, whatever way leads to it and whatever suffix a list gives it."""
    return photo.expanduser().absolute().with_suffix('')
