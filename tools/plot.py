"""`refstar plot`: losses and validations of trainings in one picture, from their logs."""

import sys
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import run_command


def labels(folders: list[Path]) -> list[str]:
    """Name the runs after their folders, or by whole paths where two folders have one name."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def plot(folders: list[Path], terms: list[str] | None, out: Path) -> None:
    """Draw runs into the file `out`.

    Raises:
        RefStarError: a folder is no run, no run logged a term, or the picture cannot be written.
    """
    from refstar.evaluation.training_curves import draw, encode
    from refstar.utils.atomic_files import write_atomically
    from refstar.utils.training_log import read_run

    figure = draw(dict(zip(labels(folders), map(read_run, folders), strict=True)), terms)
    kinds = figure.canvas.get_supported_filetypes()
    kind = out.suffix.removeprefix('.').lower()
    if kind not in kinds:
        raise RefStarError(f'-o {out}: the ending says what to write: .png, or one of {", ".join(sorted(kinds))}')
    try:
        write_atomically(out, encode(figure, kind))
    except OSError as error:
        raise RefStarError(f'-o {out}: cannot be written: {error.strerror}') from error
    print(out)


def main(argv: list[str] | None = None) -> int:
    """Draw runs; return the exit code."""
    parser = CommandParser('refstar plot', description=__doc__)
    parser.add_argument('runs', nargs='+', type=Path, metavar='experiments/NAME', help='folders of trainings')
    parser.add_argument('-o', '--out', type=Path, default=Path('curves.png'), metavar='FILE.png', help='the picture')
    parser.add_argument('--terms', nargs='+', metavar='NAME', help='logged values to draw (default: all losses)')
    args = parser.parse_args(argv)
    return run_command(lambda: plot(args.runs, args.terms, args.out))


if __name__ == '__main__':
    sys.exit(main())
