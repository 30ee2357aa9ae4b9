"""Find what a user names on the command line: photos, folders, videos, banks."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from refstar.utils.animations import is_animation
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import READ_SUFFIXES
from refstar.utils.photo_files import folders_in, images_in, is_photo, is_tool_folder, natural

BANK_SUFFIX = '.refbank'
VIDEO_SUFFIXES = frozenset({'.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.mts', '.m2ts'})
VIDEO_SUFFIXES |= {'.3gp', '.wmv', '.flv', '.ogv'}
COMPANIONS = ('.json', '.xmp', '.html', '.txt', '.md', '.csv', '.db', '.ini', '.aae', '.thm')  # of photos: passed over
SHOWN = 5  # names in a message
LOOSE = 'references'  # name of references that are given photo by photo
MAX_NAME = 100  # characters


def inputs_of(paths: Iterable[Path]) -> list[Path]:
    """Return the photos and videos to restore, each once: files, and those directly in folders.

    Raises:
        RefStarError: a path does not exist, or a folder has none.
    """
    return list(dict.fromkeys(file for path in paths for file in _inputs_of(path)))


def _inputs_of(path: Path) -> list[Path]:
    if path.is_dir():
        found = images_in(path) + [p for p in path.iterdir() if is_video(p) and not p.name.startswith('.')]
        if not found:
            kinds = ', '.join(sorted(READ_SUFFIXES | VIDEO_SUFFIXES))
            raise RefStarError(f'{path}: holds no photo or video ({kinds})')
        return sorted(found, key=lambda p: natural(p.name))
    if not path.is_file():
        raise RefStarError(f'{path}: no such file or folder')
    return [path]


def is_video(path: Path) -> bool:
    """Tell videos and animations from photos."""
    return path.suffix.lower() in VIDEO_SUFFIXES or is_animation(path)


def left_alone(folders: Iterable[str | Path], used: Iterable[Path]) -> list[str]:
    """Return a line for each of these paths that is a folder with more in it than what is used, so that nothing is
    passed over in silence."""
    used = {place for path in used for place in (path, path.parent)}
    lines = []
    for folder in filter(Path.is_dir, map(Path, folders)):
        left = [p for p in folder.iterdir() if p not in used and not is_tool_folder(p.name)]
        names = sorted((p.name + '/' * p.is_dir() for p in left if p.suffix.lower() not in COMPANIONS), key=natural)
        if names:
            more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
            lines.append(f'{folder}: left alone: {", ".join(names[:SHOWN])}{more} (no photo or video that can be read)')
    return lines


def open_sources(sources: Sequence[object]) -> list[tuple[str, list | Path, bool]]:
    """Group folders, `.refbank` files and photos (paths, Pillow images or arrays) by whom they are meant to show.

    Returns:
        For every group (name, photos or the path of a bank, whether they are meant to show one person).

    Raises:
        RefStarError: a path does not exist, or a folder has no photo.
    """
    groups, loose = [], []
    for source in sources:
        path = Path(source).expanduser() if isinstance(source, (str, Path)) else None
        if path is None:
            loose.append(source)
        elif path.is_dir():
            groups += _open_folder(path)
        elif not path.is_file():
            raise RefStarError(f'references: {path}: no such file or folder')
        elif path.suffix.lower() == BANK_SUFFIX:
            groups.append((path.stem, path, True))
        else:
            loose.append(path)
    return groups + ([(LOOSE, loose, False)] if loose else [])


def _open_folder(path: Path) -> list[tuple[str, list | Path, bool]]:
    """Return the photos of a folder, those of its folders by person, and its banks."""
    entries = sorted(path.iterdir(), key=lambda p: natural(p.name))
    groups: list[tuple[str, list | Path, bool]] = []
    if photos := images_in(path):
        groups.append((path.resolve().name, photos, False))
    groups += [(p.name, photos, True) for p in folders_in(path) if (photos := images_in(p))]
    groups += [(p.stem, p, True) for p in entries if p.is_file() and p.suffix.lower() == BANK_SUFFIX]
    if not groups:
        raise RefStarError(f'references: {path}: holds no photo and no {BANK_SUFFIX}')
    return groups


def references_by_name(roots: Sequence[str]) -> dict[str, list[Path]]:
    """Return the references of each photo: `<root>/<name>.*`, `<root>/<name>/` and `<root>/<name>.refbank`.

    Raises:
        RefStarError: a root is no folder.
    """
    found: dict[str, list[Path]] = {}
    for root in map(Path, roots):
        if not root.is_dir():
            raise RefStarError(f'references: {root}: no such folder; --refs_by_name looks for references in folders')
        for path in sorted(root.iterdir()):
            if path.is_dir():
                if not is_tool_folder(path.name):
                    found.setdefault(path.name, []).append(path)
            elif path.is_file() and (is_photo(path.name) or path.suffix.lower() == BANK_SUFFIX):
                found.setdefault(path.stem, []).append(path)
    return found


def unique(names: Iterable[str], taken: Iterable[str] = (), form: str = '{} ({})') -> list[str]:
    """Number names that occur twice or are taken: a, a (2), a (3)."""
    seen, found = set(taken), []
    for name in names:
        number, own = 1, name
        while own in seen:
            number += 1
            own = form.format(name, number)
        seen.add(own)
        found.append(own)
    return found


def printable(text: str) -> str:
    """Return untrusted text fit for a terminal: `_` for control and direction characters, at most `MAX_NAME` long."""
    return ''.join(c if c.isprintable() else '_' for c in text[:MAX_NAME])
