"""What every form of manifest is read into."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One image and its references.

    Args:
        name: unique and fit to be a file name; no suffix.
        identity: the person; entries of one person share it.
        gt: ground-truth file, None where there is none (real degraded photos).
        lq: degraded file, None where it is to be synthesised.
        refs: photos of the same person, the most useful first.
        weight: how often to draw this entry, relative to the others.

    A file in an lmdb has the path `<name>.lmdb/<image name>` (`lmdb_images`).
    """

    name: str
    identity: str
    gt: Path | None
    lq: Path | None
    refs: tuple[Path, ...]
    weight: float = 1.0
