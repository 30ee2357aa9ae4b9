"""`refstar plot`: losses and validations of trainings in one picture, from their logs."""

import sys
from argparse import Namespace
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import command


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    p.add_argument('runs', nargs='+', type=Path, metavar='experiments/NAME', help='folders of trainings')
    p.add_argument('-o', '--out', type=Path, default=Path('curves.png'), metavar='FILE.png', help='the picture')
    p.add_argument('--terms', nargs='+', metavar='NAME', help='logged values to draw (default: all losses)')


def run(args: Namespace) -> None:
    """Draw runs, named after their folders, or by whole paths where two folders have one name.

    Raises:
        RefStarError: a folder is no run, no run logged a term, or the picture cannot be written.
    """
    from refstar.evaluation.training_curves import draw, encode
    from refstar.utils.atomic_files import write_atomically
    from refstar.utils.training_log import read_run

    names = [folder.resolve().name for folder in args.runs]
    names = names if len(set(names)) == len(names) else map(str, args.runs)
    figure = draw(dict(zip(names, map(read_run, args.runs), strict=True)), args.terms)
    kinds, kind = figure.canvas.get_supported_filetypes(), args.out.suffix.removeprefix('.').lower()
    if kind not in kinds:
        raise RefStarError(f'-o {args.out}: the ending says what to write: .png, or one of {", ".join(sorted(kinds))}')
    try:
        write_atomically(args.out, encode(figure, kind))
    except OSError as error:
        raise RefStarError(f'-o {args.out}: cannot be written: {error.strerror}') from error
    print(args.out)


main = command('refstar plot', __doc__, add_arguments, run)

if __name__ == '__main__':
    sys.exit(main())
