"""The images of a collection by folder, wherever they lie: on disk, in an lmdb, or as a `meta_info` file lists them."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from refstar.data.collections.listing import IMAGE_SUFFIXES, images_in, inside, natural
from refstar.data.collections.lmdb_images import database_of, names_in
from refstar.data.collections.meta_info import read_meta_info


class Tree:
    """Images directly below a root, and in its folders.

    Args:
        root: a folder or an lmdb.
        meta_info: `meta_info` file that lists the images to use; without it all are used.

    Raises:
        RefStarError: the lmdb or the `meta_info` file is broken, or a name leads out of the root.
    """

    def __init__(self, root: Path, meta_info: str | None = None):
        self.root = root
        self._listed: dict[str, list[Path]] | None = None
        if meta_info:
            self._listed = self._by_folder(read_meta_info(meta_info), meta_info)
        elif database_of(root):
            names = sorted(names_in(root), key=natural)
            self._listed = self._by_folder(names, f'{root}/meta_info.txt')

    def _by_folder(self, names: Iterable[str], source: str) -> dict[str, list[Path]]:
        folders: dict[str, list[Path]] = {}
        for name in names:
            parent = PurePosixPath(name).parent.as_posix()
            folders.setdefault('' if parent == '.' else parent, []).append(inside(self.root, name, source))
        return folders

    def folders(self) -> list[str]:
        """Names of the folders below the root, 2 before 10."""
        if self._listed is None:
            names = [p.name for p in self.root.iterdir() if p.is_dir()]
        else:
            names = [name for name in self._listed if name]
        return sorted(names, key=natural)

    def images(self, folder: str = '') -> list[Path]:
        """The images in one folder, or directly below the root; none where there is no such folder."""
        if self._listed is not None:
            return self._listed.get(folder, [])
        home = self.root / folder
        return images_in(home) if home.is_dir() else []

    def all_images(self) -> list[Path]:
        """Every image, at any depth."""
        if self._listed is not None:
            return [image for images in self._listed.values() for image in images]
        found = (p for p in self.root.rglob('*') if p.suffix.lower() in IMAGE_SUFFIXES)
        return sorted(found, key=lambda p: natural(str(p.relative_to(self.root))))
