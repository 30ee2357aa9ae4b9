"""Atomic, durable file writes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` at the end; a crash at any moment leaves either the old or the new one.

    It is written beside `path` as `.<name>.part`, and is on disk when the context ends.

    Raises:
        OSError: it could not be written; the old file is as it was.
    """
    part = path.with_name(f'.{path.name}.part')
    try:
        with open(part, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the content of a file, with the promise and the errors of `new_file`."""
    with new_file(path) as file:
        file.write(data)


def publish(part: Path, path: Path) -> None:
    """Rename a finished file to `path`; a crash leaves either the old file or the new one."""
    os.replace(part, path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    """Flush new and changed names of a folder to disk; Windows has no such call and needs none."""
    if not hasattr(os, 'O_DIRECTORY'):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
