"""`refstar data index`: all that a list of images says, in one file that opens at once.

A data set of 100,000 people takes minutes to be listed, and under a second to be opened by `index_file: OUT`.
What is missing or double is left out and counted. Make the index again when photos come or go.
"""

import argparse
from pathlib import Path

from refstar.utils.errors import RefStarError

from .cli_common import run_command


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog='refstar data index', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument('root', metavar='ROOT', help='what to list: any form that `refstar data check` knows')
    p.add_argument('out', metavar='OUT.index', type=Path, help='file to write')
    p.add_argument('--split', metavar='X.txt', help='list of a part of ROOT (split_file)')
    p.add_argument('--gt', metavar='FOLDER', help='folder of the images that a csv or meta_info file names')
    p.add_argument('--lq', metavar='FOLDER', help='folder of ready degraded images')
    p.add_argument('--ref', metavar='FOLDER', help='folder of the references, where they are not in --gt')
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)

    def index() -> None:
        from refstar.curate.collection import parts_of
        from refstar.data.collections.index import write_index
        from refstar.data.collections.listing import Missing
        from refstar.data.collections.manifest import photos_by_identity

        roots = {'dataroot_gt': args.gt, 'dataroot_lq': args.lq, 'dataroot_ref': args.ref}
        parts = parts_of(args.root, roots, [args.split] if args.split else [])
        if len(parts) > 1:
            raise RefStarError(f'{args.root}: holds {len(parts)} lists; give one of them: {parts[0].name} ...')
        missing = Missing('drop')
        entries = parts[0].read(missing)
        missing.settle(args.root)
        if not entries:
            raise RefStarError(f'{args.root}: no image with its references was found')
        people = photos_by_identity(entries)
        write_index(args.out, entries, people)
        print(f'{args.out}: {len(entries)} images of {len(people)} people')

    return run_command(index)
