"""Files that are on disk when a call returns: whole, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def _part_of(path: Path) -> Iterator[Path]:
    """The name under which a file is written, `.<name>.part` beside it; an error leaves nothing there."""
    part = path.with_name(f'.{path.name}.part')
    try:
        yield part
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _on_disk(part: Path) -> Iterator[BinaryIO]:
    with open(part, 'wb') as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Opens what takes the place of a file at the end; a crash at any moment leaves either the old or the new one.

    Raises:
        OSError: it could not be written; the old file is as it was.
    """
    with _part_of(path) as part:
        with _on_disk(part) as file:
            yield file
        publish(part, path)


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces the content of a file, with the promise and the errors of `new_file`."""
    with new_file(path) as file:
        file.write(data)


def stage(path: Path, data: bytes) -> Path:
    """Writes `data` beside `path` under a name of its own, on disk; `publish` puts it in place.

    Returns:
        The staged file `.<name>.part`.

    Raises:
        OSError: it could not be written; nothing is left of it.
    """
    with _part_of(path) as part, _on_disk(part) as file:
        file.write(data)
    return part


def publish(part: Path, path: Path) -> None:
    """Renames a staged file to `path`; a crash leaves either the old file or the new one."""
    os.replace(part, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Brings new and changed names of a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
