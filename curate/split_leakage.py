"""Who is in more than one split: by the name of a folder, by a file, or by a photo that is there under two names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Membership:
    """Who is in a split.

    Args:
        split: its name.
        photos: photo -> person.
        named: whether the person's name means the same person elsewhere.
        also: further photos of the split.
    """

    split: str
    photos: Mapping[Path, str]
    named: bool
    also: Sequence[Path] = ()


@dataclass(frozen=True)
class Leak:
    """Somebody in two or more splits.

    Args:
        who: the person's name, or a photo.
        how: same identity, same file or same photo.
        splits: split -> a photo of the person in it.
    """

    who: str
    how: str
    splits: Mapping[str, str]


def leaks(members: Sequence[Membership], same: Sequence[Sequence[Path]] = ()) -> list[Leak]:
    """Everybody who is in more than one split.

    Args:
        members: the splits; several may have one name.
        same: groups of photos that are duplicates of each other.

    Returns:
        One leak for each person, by the strongest evidence: identity, then file, then photo.
    """
    by_name: dict[str, dict[str, Path]] = {}
    by_file: dict[Path, dict[str, Path]] = {}
    person: dict[Path, str] = {}
    for member in members:
        for photo, name in member.photos.items():
            if member.named:
                by_name.setdefault(name, {}).setdefault(member.split, photo)
            person.setdefault(_key(photo), name)
        for photo in (*member.photos, *member.also):
            by_file.setdefault(_key(photo), {}).setdefault(member.split, photo)
    by_photo = {group[0]: _together(by_file, group) for group in same}

    found: dict[str, Leak] = {}
    for name, splits in by_name.items():
        _note(found, name, 'same identity', splits)
    for key, splits in by_file.items():
        _note(found, person.get(key, str(key)), 'same file', splits)
    for photo, splits in by_photo.items():
        _note(found, person[_key(photo)], 'same photo', splits)
    return list(found.values())


def _together(by_file: Mapping[Path, Mapping[str, Path]], group: Sequence[Path]) -> dict[str, Path]:
    splits: dict[str, Path] = {}
    for photo in group:
        for split in by_file[_key(photo)]:
            splits.setdefault(split, photo)
    return splits


def _note(found: dict[str, Leak], who: str, how: str, splits: Mapping[str, Path]) -> None:
    if len(splits) > 1 and who not in found:
        found[who] = Leak(who, how, {split: str(photo) for split, photo in splits.items()})


def _key(photo: Path) -> Path:
    """The file itself, whatever way leads to it and whatever suffix a list gives it."""
    return photo.expanduser().absolute().with_suffix('')
