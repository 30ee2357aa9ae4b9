"""Which files of a folder are photos, and which of its folders may be people: decided here alone."""

import os
import re
from pathlib import Path

from .errors import RefStarError
from .image_files import READ_SUFFIXES

SUFFIXES = tuple(READ_SUFFIXES)
# Folders that systems and tools make among the user's own, besides hidden ones (`.git`); lower case.
TOOL_FOLDERS = frozenset({'@eadir', '@tmp', '@recycle', '#recycle', '$recycle.bin', '__macosx', '__pycache__'})
TOOL_FOLDERS |= {'lost+found', 'system volume information', 'thumbs.db'}
DIGITS = re.compile(r'(\d+)')
MAX_DIGITS = 255


def is_photo(name: str) -> bool:
    """Return whether a file's name is a photo's: a suffix that can be read, and not hidden (`._photo.png`)."""
    return not name.startswith('.') and name.lower().endswith(SUFFIXES)


def is_tool_folder(name: str) -> bool:
    """Return whether a folder's name is that of a system or tool (`.git`, `@eaDir`, `__MACOSX`), not of a person."""
    return name.startswith('.') or name.lower() in TOOL_FOLDERS


def natural(name: str) -> list[str | tuple[int, str]]:
    """Return a sort key that puts `2.png` before `10.png`: text and numbers in turn."""
    parts = DIGITS.split(name)
    parts[1::2] = [(int(part) if len(part) <= MAX_DIGITS else 0, part) for part in parts[1::2]]
    return parts


def images_in(path: str | Path) -> list[Path]:
    """Return the photos directly in a folder, 2 before 10.

    Raises:
        RefStarError: the folder cannot be read.
    """
    try:
        return [Path(path, name) for name in sorted(filter(is_photo, os.listdir(path)), key=natural)]
    except OSError as error:
        raise RefStarError(f'{path}: cannot be read ({error})') from None


def folders_in(path: str | Path) -> list[Path]:
    """Return the folders directly in a folder that are no tool's, 2 before 10; errors as of `images_in`."""
    try:
        with os.scandir(path) as found:
            names = [item.name for item in found if item.is_dir() and not is_tool_folder(item.name)]
    except OSError as error:
        raise RefStarError(f'{path}: cannot be read ({error})') from None
    return [Path(path, name) for name in sorted(names, key=natural)]
