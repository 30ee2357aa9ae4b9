"""`refstar data`: collections of photos, checked, and split by person."""

import argparse
import json
import sys
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import at_least, command

SHOWN = 20  # problems of a kind that are printed; --json has all
COLUMNS = ('name', 'identities', 'images', 'degraded', 'sizes')
UNKNOWN = ('network', 'weights', 'prepare', 'distance', 'split_distance', 'max_refs', 'min_refs', 'test_distance')
CHECK = """Say what a collection of photos holds and what is wrong with it.

A ROOT is a folder with a folder of photos per person, a folder of photos, an lmdb, a csv of FFHQ-Ref or
CelebA-Test-Ref, a meta_info file of BasicSR, or an option file (.yml). Several ROOTs, several --splits, and the data
sets of an option file by phase are splits: nobody may be in two of them.

Exit code: 0 nothing is wrong; 1 problems, which are listed; 2 somebody is in two splits, or wrong input."""
SPLIT = """Divide the people of a collection into train, val and test, so that nobody is in two of them.

Of a folder (or lmdb) of people's folders it writes the people's names; of a csv of FFHQ-Ref the images' names and a csv
per split; of a folder (or lmdb) of photos of unknown people, which --network and --weights recognise, the photos' names
and a csv per split with the references of every photo that has any. split.json says how it was done."""


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    commands = p.add_subparsers(metavar='command', required=True)
    one = _command(commands, check, 'find what is missing, broken or double, and leaks', CHECK)
    one.add_argument('roots', nargs='+', metavar='ROOT', help='what to check; several are one split each')
    one.add_argument('--splits', nargs='+', default=[], metavar='X.txt', help='lists of a share of ROOT (split_file)')
    one.add_argument('--gt', metavar='FOLDER', help='folder of the images that a csv or meta_info file names')
    one.add_argument('--lq', metavar='FOLDER', help='folder of ready degraded images')
    one.add_argument('--ref', metavar='FOLDER', help='folder of the references, where they are not in --gt')
    about = 'photos with a shorter side are too small'
    one.add_argument('--min_size', type=at_least(0), default=0, metavar='PIXELS', help=about)
    about = 'photos whose 256-bit fingerprints differ by no more are one (default 10); off: do not look'
    one.add_argument('--duplicates', type=_bits, default=10, metavar='BITS', help=about)
    one.add_argument('--json', metavar='OUT', help='write everything that was found to this file')

    one = _command(commands, split, 'divide people into train, val and test', SPLIT)
    one.add_argument('root', metavar='ROOT', help='what to split')
    one.add_argument('--out', required=True, type=Path, metavar='FOLDER', help='where the lists go')
    one.add_argument('--fractions', nargs=3, type=float, default=[0.8, 0.1, 0.1], metavar='F', help='train, val, test')
    one.add_argument('--seed', type=at_least(0), default=0, help='of the draw (default 0)')
    one.add_argument('--overwrite', action='store_true', help='replace lists that are in FOLDER already')
    unknown, count = one.add_argument_group('photos of unknown people'), {'type': at_least(1), 'metavar': 'N'}
    unknown.add_argument('--network', help='face-recognition network by name: arcface_resnet18, irse50, onnx ...')
    unknown.add_argument('--weights', metavar='FILE', help='its weights')
    unknown.add_argument('--prepare', help="what the network is fed (default: the named network's own)")
    unknown.add_argument('--distance', type=float, metavar='D', default=0.4, help='below it, one person (default 0.4)')
    unknown.add_argument('--split_distance', type=float, metavar='D', help='people nearer than this share a split')
    unknown.add_argument('--max_refs', **count, default=9, help='of a photo (default 9)')
    unknown.add_argument('--min_refs', **count, default=1, help='with fewer it gets no row (default 1)')
    about = 'references nearer to the photo than this are left out of the test csv (default 0.1)'
    unknown.add_argument('--test_distance', type=float, metavar='D', default=0.1, help=about)
    for one in commands.choices.values():
        one.add_argument('--jobs', type=at_least(1), metavar='N', help='processes (default: one per core)')


def _command(commands, run, line: str, about: str) -> argparse.ArgumentParser:
    p = commands.add_parser(run.__name__, help=line, description=about)
    p.set_defaults(run=run)
    return p


def _bits(text: str) -> int | None:
    return None if text == 'off' else at_least(0)(text)


def run(args: argparse.Namespace) -> int:
    """Run a command; return 1 if it found problems."""
    from refstar.utils.parallel import cores

    args.jobs = args.jobs or cores()
    return int((args.run(args) or 0) > 0)


def check(args: argparse.Namespace) -> int:
    """Run `refstar data check`; return the number of problems."""
    from refstar.curate.collection import image_lists
    from refstar.curate.collection_check import check
    from refstar.utils.text_files import write_text

    roots = {'dataroot_gt': args.gt, 'dataroot_lq': args.lq, 'dataroot_ref': args.ref}
    lists = [one for root in args.roots for one in image_lists(root, roots, args.splits)]
    reports, leaks = check(lists, args.min_size, args.duplicates, args.jobs)
    problems = sum(len(found) for one in reports for found in one['problems'].values())
    if args.json:
        write_text(args.json, json.dumps({'parts': reports, 'leaks': leaks, 'problems': problems}, indent=1))
    _print(*_table(reports))
    for one in reports:
        for kind, found in one['problems'].items():
            _print_some(f'\n{one["name"]}: {len(found)} {kind}', found)
    if leaks:
        places = [', '.join(f'{split}: {photo}' for split, photo in leak['splits'].items()) for leak in leaks]
        lines = [f'{leak["who"]} ({leak["how"]}): {place}' for leak, place in zip(leaks, places, strict=True)]
        _print_some(f'\n{len(leaks)} in more than one split', lines)
        splits = sorted({split for leak in leaks for split in leak['splits']})
        raise RefStarError(
            f'{len(leaks)} people are in more than one of the splits {", ".join(splits)}: a test on them '
            'says nothing. Take them out of all but one (refstar data split makes splits without leaks)'
        )
    return problems


def split(args: argparse.Namespace) -> None:
    """Run `refstar data split`."""
    from refstar.curate.people_split import split_people

    unknown = {key: getattr(args, key) for key in UNKNOWN}
    split_people(args.root, args.out, args.fractions, args.seed, args.overwrite, unknown, args.jobs)


def _table(reports: list[dict]) -> list[str]:
    """Return the lines of a table: what each list holds, and how much is wrong."""
    from refstar.curate.collection_check import KINDS

    cells = [['', *COLUMNS[1:-1], 'sides', *KINDS]]
    for one in reports:
        values = [one[key] for key in COLUMNS[:-1]]
        values[1] = values[1] or '?'
        sides = '-'.join(map(str, dict.fromkeys(one['sizes'] or ['none'])))
        cells.append([*values, sides, *(len(one['problems'].get(kind, ())) for kind in KINDS)])
    widths = [max(len(str(cell)) for cell in column) for column in zip(*cells, strict=True)]
    return ['  '.join(f'{c!s:<{width}}' for c, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _print_some(title: str, lines: list[str]) -> None:
    more = len(lines) - SHOWN
    _print(title, *(f'  {line}' for line in lines[:SHOWN]), *([f'  ... and {more} more'] if more > 0 else []))


def _print(*lines: str) -> None:
    """Print names of any characters, whatever the terminal can show."""
    encoding = sys.stdout.encoding or 'utf-8'
    for line in lines:
        print(line.encode(encoding, 'backslashreplace').decode(encoding))


main = command('refstar data', __doc__ + ' docs/data.md shows every form of list.', add_arguments, run)
