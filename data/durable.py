"""Files that are on disk when a call returns: whole, or not at all."""

import os
from pathlib import Path


def stage(path: Path, data: bytes) -> Path:
    """Writes `data` beside `path` under a name of its own, on disk; `publish` puts it in place.

    Returns:
        The staged file `.<name>.part`.

    Raises:
        OSError: it could not be written; nothing is left of it.
    """
    part = path.with_name(f'.{path.name}.part')
    try:
        with open(part, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


def publish(part: Path, path: Path) -> None:
    """Renames a staged file to `path`; a crash leaves either the old file or the new one."""
    os.replace(part, path)
    sync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces the content of a file; a crash at any moment leaves either the old content or the new one.

    Raises:
        OSError: it could not be written; the old file is as it was.
    """
    publish(stage(path, data), path)


def sync_folder(path: Path) -> None:
    """Brings new and changed names of a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
