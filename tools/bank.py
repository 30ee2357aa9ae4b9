"""`refstar bank build`: encode a person's good photos into one file that `refstar restore -r` takes."""

import sys
from argparse import Namespace
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import at_least, command
from .restore import network_arguments, open_restorer


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    build = p.add_subparsers(required=True, metavar='build').add_parser('build', help='encode the photos of one person')
    build.add_argument('photos', nargs='+', metavar='PHOTOS', help='photos of one person, or a folder of them')
    build.add_argument('-o', '--output', type=Path, required=True, metavar='X.refbank')
    build.add_argument('--person', metavar='NAME', help='default: the name of the output file')
    text = 'most references to keep (default: 16)'
    build.add_argument('--num_refs', type=at_least(1), default=16, metavar='N', help=text)
    network_arguments(build)


def run(args: Namespace) -> None:
    """Encode photos of one person.

    Raises:
        RefStarError: wrong input, no usable reference, or photos of several people.
    """
    from refstar.restore.bank_file import MAX_REFERENCES, most_diverse, write_bank
    from refstar.restore.input_files import BANK_SUFFIX, open_sources

    if args.output.suffix != BANK_SUFFIX:
        raise RefStarError(f'{args.output}: the name of a reference bank ends with {BANK_SUFFIX}')
    if args.num_refs > MAX_REFERENCES:
        raise RefStarError(f'--num_refs must be 1 to {MAX_REFERENCES}, got {args.num_refs}')
    photos = [photo for _, found, _ in open_sources(args.photos) if isinstance(found, list) for photo in found]
    if not photos:
        raise RefStarError(f'references: {", ".join(args.photos)}: no photo')
    restorer = open_restorer(args)
    person = restorer.read_references(photos, args.person or args.output.stem, one_person=True)[0]
    person = most_diverse(person, args.num_refs)
    for name, why in person.dropped.items():
        print(f'left out: {name}: {why}')
    write_bank(args.output, person, restorer.net, restorer.device)
    size = args.output.stat().st_size / 1e6
    print(f'{args.output}: {len(person.references)} references of {person.name}, {size:.1f} MB')


main = command('refstar bank', __doc__, add_arguments, run)

if __name__ == '__main__':
    sys.exit(main())
