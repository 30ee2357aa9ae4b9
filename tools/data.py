"""`refstar data`: collections of photos, checked, split by person, and packed into an lmdb."""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import at_least, command

SHOWN = 20  # problems of a kind that are printed; --json has all
PHOTO_LISTS = ('ReferencePairDataset', 'ReferenceTestDataset')  # types of data sets that read a list
COLUMNS = ('identities', 'images', 'degraded', 'sides')
CHECK = """Say what a collection of photos holds and what is wrong with it.

A ROOT is a folder with a folder of photos per person, a folder of photos, an lmdb, a csv of FFHQ-Ref or
CelebA-Test-Ref, a meta_info file of BasicSR, the folder FFHQ-Ref, or an option file (.yml). Several ROOTs, several
--splits, and the data sets of an option file by phase are splits: nobody may be in two of them.

Exit code: 0 nothing is wrong; 1 problems, which are listed; 2 somebody is in two splits, or wrong input."""
SPLIT = """Divide the people of a collection into train, val and test, so that nobody is in two of them.

Of a folder (or lmdb) of people's folders it writes the people's names; of a csv of FFHQ-Ref the images' names and a csv
per split; of a folder (or lmdb) of photos of unknown people, which --network and --weights recognise, the photos' names
and a csv per split with the references of every photo that has any. split.json says how it was done."""
LMDB = """Pack a folder of photos into an lmdb of BasicSR, whole or not at all.

The key of an image is its path below FOLDER without suffix: `00001`, or `ann/1` with a folder per person."""


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    commands = p.add_subparsers(metavar='command', required=True)
    _check_arguments(_command(commands, check, 'find what is missing, broken or double, and leaks', CHECK))
    _split_arguments(_command(commands, split, 'divide people into train, val and test', SPLIT))
    pack = _command(commands, lmdb, 'pack a folder of photos into an lmdb of BasicSR', LMDB)
    pack.add_argument('folder', metavar='FOLDER', type=Path, help='photos, at any depth')
    pack.add_argument('out', metavar='OUT.lmdb', type=Path, help='a new folder')
    pack.add_argument('--compress_level', type=int, default=1, choices=range(10), help='of the PNG (default 1)')
    for one in commands.choices.values():
        one.add_argument('--jobs', type=at_least(1), metavar='N', help='processes (default: one per core)')


def _check_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument('roots', nargs='+', metavar='ROOT', help='what to check; several are one split each')
    p.add_argument('--splits', nargs='+', default=[], metavar='X.txt', help='lists of a share of ROOT (split_file)')
    p.add_argument('--gt', metavar='FOLDER', help='folder of the images that a csv or meta_info file names')
    p.add_argument('--lq', metavar='FOLDER', help='folder of ready degraded images')
    p.add_argument('--ref', metavar='FOLDER', help='folder of the references, where they are not in --gt')
    p.add_argument('--min_size', type=int, default=0, metavar='PIXELS', help='photos with a shorter side are too small')
    about = 'photos whose 256-bit fingerprints differ by no more are one (default 10); off: do not look'
    p.add_argument('--duplicates', metavar='BITS', default='10', help=about)
    p.add_argument('--json', metavar='OUT', help='write everything that was found to this file')


def _split_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument('root', metavar='ROOT', help='what to split')
    p.add_argument('--out', required=True, type=Path, metavar='FOLDER', help='where the lists go')
    p.add_argument('--fractions', nargs=3, type=float, default=[0.8, 0.1, 0.1], metavar='F', help='train, val, test')
    p.add_argument('--seed', type=at_least(0), default=0, help='of the draw (default 0)')
    p.add_argument('--overwrite', action='store_true', help='replace lists that are in FOLDER already')
    unknown = p.add_argument_group('photos of unknown people')
    unknown.add_argument('--network', help='face-recognition network by name: arcface_resnet18, irse50, onnx ...')
    unknown.add_argument('--weights', metavar='FILE', help='its weights')
    unknown.add_argument('--prepare', help="what the network is fed (default: the named network's own)")
    unknown.add_argument('--distance', type=float, metavar='D', default=0.4, help='below it, one person (default 0.4)')
    unknown.add_argument('--split_distance', type=float, metavar='D', help='people nearer than this share a split')
    unknown.add_argument('--max_refs', type=int, metavar='N', default=9, help='of a photo (default 9)')
    unknown.add_argument('--min_refs', type=int, metavar='N', default=1, help='with fewer it gets no row (default 1)')
    about = 'references nearer to the photo than this are left out of the test csv (default 0.1)'
    unknown.add_argument('--test_distance', type=float, metavar='D', default=0.1, help=about)


def _command(commands, run, line: str, about: str) -> argparse.ArgumentParser:
    p = commands.add_parser(run.__name__, help=line, description=about)
    p.set_defaults(run=run)
    return p


def run(args: argparse.Namespace) -> int:
    """Run a command; return 1 if it found problems."""
    from refstar.utils.parallel import cores

    args.jobs = args.jobs or cores()
    return int((args.run(args) or 0) > 0)


def whole(value: object, key: str, low: int) -> int:
    """Return a whole number of at least `low`, or raise a RefStarError."""
    if not str(value).isdecimal() or int(value) < low:
        raise RefStarError(f'{key} must be a whole number of at least {low}, got {value}')
    return int(value)


def check(args: argparse.Namespace) -> int:
    """Run `refstar data check`; return the number of problems."""
    from refstar.curate.collection_check import check
    from refstar.utils.text_files import write_text

    distance = None if args.duplicates == 'off' else whole(args.duplicates, '--duplicates', 0)
    reports, leaks = check(_lists(args), whole(args.min_size, '--min_size', 0), distance, args.jobs)
    problems = sum(len(found) for one in reports for found in one.problems.values())
    if args.json:
        found = {'parts': [asdict(one) for one in reports], 'leaks': [leak._asdict() for leak in leaks]}
        write_text(args.json, json.dumps({**found, 'problems': problems}, indent=1))
    _show_table(reports)
    for one in reports:
        for kind, found in one.problems.items():
            _print_some(f'\n{one.name}: {len(found)} {kind}', found)
    if leaks:
        places = [', '.join(f'{split}: {photo}' for split, photo in leak.splits.items()) for leak in leaks]
        lines = [f'{leak.who} ({leak.how}): {place}' for leak, place in zip(leaks, places, strict=True)]
        _print_some(f'\n{len(leaks)} in more than one split', lines)
        splits = sorted({split for leak in leaks for split in leak.splits})
        raise RefStarError(
            f'{len(leaks)} people are in more than one of the splits {", ".join(splits)}: a test on them '
            'says nothing. Take them out of all but one (refstar data split makes splits without leaks)'
        )
    return problems


def split(args: argparse.Namespace) -> None:
    """Run `refstar data split`."""
    from refstar.curate.people_split import UnknownPeople, split_people

    for key in ('max_refs', 'min_refs'):
        whole(getattr(args, key), f'--{key}', 1)
    unknown = UnknownPeople(**{field.name: getattr(args, field.name) for field in fields(UnknownPeople)})
    split_people(args.root, args.out, args.fractions, args.seed, args.overwrite, unknown, args.jobs)


def lmdb(args: argparse.Namespace) -> None:
    """Run `refstar data lmdb`."""
    from refstar.curate.lmdb_writer import pack_folder

    print(f'{args.out}: {pack_folder(args.folder, args.out, args.compress_level, args.jobs)} images')


def _lists(args: argparse.Namespace) -> list:
    """Return the `ImageList`s of the command line, those of option files too."""
    from refstar.curate.collection import ImageList, image_lists
    from refstar.trainer.option_file import load_options

    roots = {'dataroot_gt': args.gt, 'dataroot_lq': args.lq, 'dataroot_ref': args.ref}
    lists = []
    for root in args.roots:
        if Path(root).suffix not in ('.yml', '.yaml'):
            lists += image_lists(root, roots, args.splits)
            continue
        if args.splits or any(roots.values()):
            raise RefStarError(f'{root}: names its own folders; --splits, --gt, --lq, --ref cannot be used with it')
        sets = (load_options(root).get('datasets') or {}).items()
        found = {phase: opt for phase, opt in sets if isinstance(opt, dict) and opt.get('type') in PHOTO_LISTS}
        if not found:
            raise RefStarError(f'{root}: has no {" or ".join(PHOTO_LISTS)} to check')
        lists += [ImageList(f'{root}: {phase}', phase.split('_')[0], opt) for phase, opt in found.items()]
    return lists


def _show_table(reports: list) -> None:
    from refstar.curate.collection_check import KINDS

    cells = [['', *COLUMNS, *KINDS]]
    for one in reports:
        sides = 'none' if one.sizes is None else '-'.join(map(str, dict.fromkeys(one.sizes)))
        counts = [len(one.problems.get(kind, ())) for kind in KINDS]
        cells.append([one.name, one.identities or '?', one.images, one.degraded, sides, *counts])
    widths = [max(len(str(row[i])) for row in cells) for i in range(len(cells[0]))]
    _print('  '.join(f'{cell!s:<{width}}' for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def _print_some(title: str, lines: list[str]) -> None:
    more = len(lines) - SHOWN
    _print([title, *(f'  {line}' for line in lines[:SHOWN]), *([f'  ... and {more} more'] if more > 0 else [])])


def _print(lines: Iterable[str]) -> None:
    """Print names of any characters, whatever the terminal can show."""
    encoding = sys.stdout.encoding or 'utf-8'
    for line in lines:
        print(line.encode(encoding, 'backslashreplace').decode(encoding))


main = command('refstar data', f'{__doc__}\n\ndocs/data.md shows every form of list.', add_arguments, run)
