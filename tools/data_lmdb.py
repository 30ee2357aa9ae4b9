"""`refstar data lmdb`: packs a folder of photos into an lmdb of BasicSR.

The key of an image is its path below FOLDER without suffix: `00001`, or `ann/1` with a folder per person. Data sets
read it by `dataroot...: OUT.lmdb` and `io_backend: {type: lmdb}`. OUT.lmdb is there whole or not at all.
"""

import argparse
from pathlib import Path

from refstar.utils.errors import RefStarError

from .cli_common import run_command
from .data_check import whole


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog='refstar data lmdb', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument('folder', metavar='FOLDER', type=Path, help='photos, at any depth')
    p.add_argument('out', metavar='OUT.lmdb', type=Path, help='a new folder')
    p.add_argument('--compress_level', type=int, default=1, choices=range(10), help='of the PNG (default 1)')
    p.add_argument('--jobs', type=int, metavar='N', help='processes (default: one per core)')
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)

    def pack() -> None:
        from refstar.curate.image_tree import Tree
        from refstar.curate.lmdb_writer import write_lmdb
        from refstar.utils.parallel import cores

        if not args.folder.is_dir():
            raise RefStarError(f'{args.folder}: there is no such folder')
        images = Tree(args.folder).all_images()
        if not images:
            raise RefStarError(f'{args.folder}: holds no image')
        jobs = cores() if args.jobs is None else whole(args.jobs, '--jobs', 1)
        write_lmdb(args.folder, images, args.out, args.compress_level, jobs)
        print(f'{args.out}: {len(images)} images')

    return run_command(pack)
