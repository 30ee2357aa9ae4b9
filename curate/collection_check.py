"""Looks at every image of a collection and says what is wrong with it, and whether anybody is in two splits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from refstar.data.collections.listing import Missing
from refstar.data.collections.manifest import photos_by_identity
from refstar.utils.errors import RefStarError
from refstar.utils.parallel import parallel

from .collection import Part
from .image_scan import Scan, require_imagehash, scan, scan_and_hash
from .near_duplicates import MAX_DISTANCE, near_duplicates
from .split_leakage import Leak, Membership, leaks

DISTANCE = 10  # of 256 bits: what was measured stands in docs/data.md
KINDS = ('missing', 'corrupt', 'too small', 'not square', 'duplicate')


@dataclass
class PartReport:
    """What one part of a collection holds, and what is wrong with it.

    Args:
        name, split: of the part.
        identities: people; 0 where they are not known.
        images: photos (ground truth and references), each counted once.
        degraded: ready LQ images.
        sizes: smallest and largest side of the photos.
        problems: kind -> what.
    """

    name: str
    split: str
    identities: int = 0
    images: int = 0
    degraded: int = 0
    sizes: tuple[int, int] | None = None
    problems: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str) -> None:
        self.problems.setdefault(kind, []).append(what)


@dataclass(frozen=True)
class Report:
    """The whole result."""

    parts: list[PartReport]
    leaks: list[Leak]

    @property
    def problems(self) -> int:
        return sum(len(found) for part in self.parts for found in part.problems.values())


@dataclass(frozen=True)
class _Read:
    """A part with its photos (photo -> person) and degraded images."""

    part: Part
    report: PartReport
    photos: dict[Path, str]
    degraded: list[Path]


def check(parts: Sequence[Part], min_size: int = 0, distance: int | None = DISTANCE, jobs: int = 1) -> Report:
    """Checks the lists of a collection.

    Args:
        parts: the lists.
        min_size: photos with a shorter side are too small.
        distance: bits by which the fingerprints of two photos may differ that count as one; None: do not look.
        jobs: processes.

    Raises:
        RefStarError: a list is malformed, or `distance` is not 0 to MAX_DISTANCE.
    """
    if distance is not None:
        if not 0 <= distance <= MAX_DISTANCE:
            raise RefStarError(f'the distance of duplicates must be 0 to {MAX_DISTANCE}, got {distance}')
        require_imagehash()
    read = [_read(part) for part in parts]
    photos = list(dict.fromkeys(photo for one in read for photo in one.photos))
    degraded = list(dict.fromkeys(lq for one in read for lq in one.degraded))
    look = scan if distance is None else scan_and_hash
    scans = dict(zip(photos, parallel(look, photos, jobs, 'photos'), strict=True))
    degraded = [lq for lq in degraded if lq not in scans]
    scans |= zip(degraded, parallel(scan, degraded, jobs, 'degraded'), strict=True)
    for one in read:
        _measure(one, scans, min_size)
    good = [photo for photo in photos if scans[photo].fingerprint]
    groups = [] if distance is None else near_duplicates([scans[photo].fingerprint for photo in good], distance)
    same = [[good[i] for i in group] for group in groups]
    for group in same:
        _note_duplicates(read, group)
    members = [Membership(one.part.split, one.photos, one.part.named, one.part.also) for one in read]
    return Report([one.report for one in read], leaks(members, same))


def _read(part: Part) -> _Read:
    missing = Missing('drop')
    entries = part.read(missing)
    people = photos_by_identity(entries)
    report = PartReport(part.name, part.split, 0 if part.unknown else len(people))
    for kind, names in missing.found.items():
        report.problems[kind] = list(names)
    if not entries and not report.problems:
        raise RefStarError(f'{part.name}: no image was found; expected folders of photos, photos, or a list of them')
    photos = {photo: person for person, own in people.items() for photo in own}
    degraded = list(dict.fromkeys(entry.lq for entry in entries if entry.lq is not None))
    report.images, report.degraded = len(photos), len(degraded)
    return _Read(part, report, photos, degraded)


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


def _note_duplicates(read: list[_Read], group: list[Path]) -> None:
    """Adds a group of duplicates to every part that has two of them."""
    for one in read:
        own = [path for path in group if path in one.photos]
        if len(own) > 1:
            people = {one.photos[path] for path in own}
            where = '' if one.part.unknown else f' ({"one person" if len(people) == 1 else "DIFFERENT people"})'
            one.report.add('duplicate', ' = '.join(map(str, own)) + where)
