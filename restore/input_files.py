"""What a user names on the command line: photos, folders of them, videos, banks."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from refstar.data.collections.listing import IMAGE_SUFFIXES, Tree, images_in, natural
from refstar.utils.errors import RefStarError

from .references import BANK_SUFFIX

VIDEO_SUFFIXES = frozenset({'.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg'})
NAME_OF_LOOSE = 'references'  # of photos that are given one by one


def open_sources(sources: Sequence[object]) -> list[tuple[str, list | Path, bool]]:
    """References sorted by whose they are.

    Args:
        sources: folders, `.refbank` files, photos (paths, Pillow images or arrays).

    Returns:
        (name, photos or the path of a bank, whether they are meant to show one person) for every group.

    Raises:
        RefStarError: a path is not there, or a folder has no photo.
    """
    groups, loose = [], []
    for source in sources:
        path = Path(source).expanduser() if isinstance(source, (str, Path)) else None
        if path is None:
            loose.append(source)
        elif path.is_dir():
            groups += _of_folder(path)
        elif not path.is_file():
            raise RefStarError(f'references: {path}: no such file or folder')
        elif path.suffix.lower() == BANK_SUFFIX:
            groups.append((path.stem, path, True))
        else:
            loose.append(path)
    return groups + ([(NAME_OF_LOOSE, loose, False)] if loose else [])


def _of_folder(path: Path) -> list[tuple[str, list | Path, bool]]:
    """Photos of a folder, those of its folders by person, and its banks."""
    tree = Tree(path)
    own = tree.images()
    groups: list[tuple[str, list | Path, bool]] = [(path.resolve().name, own, False)] if own else []
    groups += [(name, photos, True) for name in tree.folders() if (photos := tree.images(name))]
    banks = sorted((p for p in path.iterdir() if p.suffix.lower() == BANK_SUFFIX), key=lambda p: natural(p.name))
    groups += [(bank.stem, bank, True) for bank in banks]
    if not groups:
        raise RefStarError(f'references: {path}: holds no photo and no {BANK_SUFFIX}')
    return groups


def files_of(sources: Sequence[str | Path]) -> set[Path]:
    """The files that references are read from, resolved; what cannot be opened is told when it is to be read."""
    found: set[Path] = set()
    for source in sources:
        with suppress(RefStarError):
            for _, photos, _ in open_sources([source]):
                found |= {path.resolve() for path in ([photos] if isinstance(photos, Path) else photos)}
    return found


def named_after(roots: Sequence[str]) -> dict[str, list[Path]]:
    """References by the photo that they are for: `<root>/<name>.*`, `<root>/<name>/` and `<root>/<name>.refbank`.

    Raises:
        RefStarError: a root is no folder.
    """
    found: dict[str, list[Path]] = {}
    for root in map(Path, roots):
        if not root.is_dir():
            raise RefStarError(f'references: {root}: no such folder; --refs_by_name looks for references in folders')
        for path in sorted(root.iterdir()):
            if path.is_dir():
                found.setdefault(path.name, []).append(path)
            elif path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES | {BANK_SUFFIX}:
                found.setdefault(path.stem, []).append(path)
    return found


def inputs_of(path: Path) -> list[Path]:
    """The photos and videos to restore: a file, or those directly in a folder.

    Raises:
        RefStarError: there is none.
    """
    if path.is_dir():
        found = images_in(path) + [p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES]
        if not found:
            kinds = ', '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
            raise RefStarError(f'{path}: holds no photo or video ({kinds})')
        return sorted(found, key=lambda p: natural(p.name))
    if not path.is_file():
        raise RefStarError(f'{path}: no such file or folder')
    return [path]


def is_video(path: Path) -> bool:
    """By its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def photos_of_one(sources: Sequence[str]) -> list[Path]:
    """Photos that are meant to show one person: files, and those directly in folders.

    Raises:
        RefStarError: a path is not there, or there is no photo.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += images_in(source)
        elif source.is_file():
            found.append(source)
        else:
            raise RefStarError(f'references: {source}: no such file or folder')
    if not found:
        raise RefStarError(f'references: {", ".join(sources)}: no photo')
    return found
