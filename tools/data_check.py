"""`refstar data check`: what a collection of photos holds and what is wrong with it.

A ROOT is a folder with a folder of photos per person, a folder of photos, an lmdb, a csv of FFHQ-Ref or
CelebA-Test-Ref, a list of DMDNet, a meta_info file of BasicSR, the folder FFHQ-Ref, or an option file (.yml).
Several ROOTs, several --splits, and the data sets of an option file by phase are splits: nobody may be in two of them.

Exit code: 0 nothing is wrong; 1 problems, which are listed; 2 somebody is in two splits, or wrong input.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from refstar.utils.errors import RefStarError

from .cli_common import run_command

if TYPE_CHECKING:
    from refstar.curate.collection import Part
    from refstar.curate.collection_check import Report

SHOWN = 20  # problems of a kind that are printed; --json has all
COLUMNS = ('identities', 'images', 'degraded', 'sides', 'missing', 'corrupt', 'too small', 'not square', 'duplicate')


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog='refstar data check', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument('roots', nargs='+', metavar='ROOT', help='what to check; several are one split each')
    p.add_argument('--splits', nargs='+', default=[], metavar='X.txt', help='lists of a part of each ROOT (split_file)')
    p.add_argument('--gt', metavar='FOLDER', help='folder of the images that a csv or meta_info file names')
    p.add_argument('--lq', metavar='FOLDER', help='folder of ready degraded images')
    p.add_argument('--ref', metavar='FOLDER', help='folder of the references, where they are not in --gt')
    p.add_argument('--min_size', type=int, default=0, metavar='PIXELS', help='photos with a shorter side are too small')
    p.add_argument(
        '--duplicates',
        metavar='BITS',
        help='photos whose 256-bit fingerprints differ by no more are one (default 10); off: do not look',
    )
    p.add_argument('--jobs', type=int, metavar='N', help='processes (default: one per core)')
    p.add_argument('--json', metavar='OUT', help='write everything that was found to this file')
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    problems = 0

    def check() -> None:
        nonlocal problems
        from refstar.curate.collection_check import DISTANCE
        from refstar.curate.collection_check import check as look
        from refstar.utils.parallel import cores
        from refstar.utils.text_files import write_text

        distance = DISTANCE if args.duplicates is None else None
        if args.duplicates not in (None, 'off'):
            distance = whole(args.duplicates, '--duplicates', 0)
        jobs = cores() if args.jobs is None else whole(args.jobs, '--jobs', 1)
        result = look(_parts(args), whole(args.min_size, '--min_size', 0), distance, jobs)
        if args.json:
            write_text(args.json, json.dumps(_as_json(result), indent=1))
        _show(result)
        if result.leaks:
            splits = sorted({split for leak in result.leaks for split in leak.splits})
            raise RefStarError(
                f'{len(result.leaks)} people are in more than one of the splits {", ".join(splits)}: a test on them '
                'says nothing. Take them out of all but one (refstar data split makes splits without leaks)'
            )
        problems = result.problems

    return run_command(check) or int(problems > 0)


def whole(value: object, key: str, low: int) -> int:
    if not str(value).isdecimal() or int(value) < low:
        raise RefStarError(f'{key} must be a whole number of at least {low}, got {value}')
    return int(value)


def _parts(args: argparse.Namespace) -> list['Part']:
    from refstar.curate.collection import parts_of

    roots = {'dataroot_gt': args.gt, 'dataroot_lq': args.lq, 'dataroot_ref': args.ref}
    parts = []
    for root in args.roots:
        if Path(root).suffix in ('.yml', '.yaml'):
            if args.splits or any(roots.values()):
                raise RefStarError(f'{root}: names its own folders; --splits, --gt, --lq, --ref cannot be used with it')
            parts += _datasets(root)
        else:
            parts += parts_of(root, roots, args.splits)
    return parts


def _datasets(path: str) -> list['Part']:
    """The data sets of an option file that read a manifest."""
    from refstar.curate.collection import Part
    from refstar.trainer.option_file import load_options

    parts = []
    for phase, opt in (load_options(path).get('datasets') or {}).items():
        kind = opt.get('type') if isinstance(opt, dict) else None
        if kind in ('ReferencePairDataset', 'ReferenceTestDataset'):
            parts.append(Part(f'{path}: {phase}', phase.split('_')[0], opt))
        else:
            print(f'{path}: {phase}: left out, {kind} reads no manifest')
    if not parts:
        raise RefStarError(f'{path}: has no ReferencePairDataset or ReferenceTestDataset to check')
    return parts


def _as_json(result: 'Report') -> dict:
    return {
        'parts': [asdict(part) for part in result.parts],
        'leaks': [asdict(leak) for leak in result.leaks],
        'problems': result.problems,
    }


def _show(result: 'Report') -> None:
    cells = [['', *COLUMNS]]
    for part in result.parts:
        sides = 'none' if part.sizes is None else '-'.join(map(str, dict.fromkeys(part.sizes)))
        counts = [len(part.problems.get(kind, ())) for kind in COLUMNS[4:]]
        cells.append([part.name, part.identities or '?', part.images, part.degraded, sides, *counts])
    widths = [max(len(str(row[i])) for row in cells) for i in range(len(cells[0]))]
    _print('  '.join(f'{cell!s:<{width}}' for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    for part in result.parts:
        for kind, found in part.problems.items():
            _print_some(f'\n{part.name}: {len(found)} {kind}', found)
    found = [
        f'{leak.who} ({leak.how}): {", ".join(f"{split}: {photo}" for split, photo in leak.splits.items())}'
        for leak in result.leaks
    ]
    _print_some(f'\n{len(found)} in more than one split', found)


def _print_some(title: str, lines: list[str]) -> None:
    if lines:
        more = len(lines) - SHOWN
        _print([title, *(f'  {line}' for line in lines[:SHOWN]), *([f'  ... and {more} more'] if more > 0 else [])])


def _print(lines: Iterable[str]) -> None:
    """Prints names of any characters, whatever the terminal can show."""
    encoding = sys.stdout.encoding or 'utf-8'
    for line in lines:
        print(line.encode(encoding, 'backslashreplace').decode(encoding))
