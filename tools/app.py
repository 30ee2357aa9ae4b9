"""`refstar app`: a local web page that restores a photo with good photos of the same person. docs/app.md says more."""

import argparse
import sys
from pathlib import Path

from .cli_common import run_command
from .restore import network_arguments, open_restorer
from .serving.serve import checked_token, serve, serving_arguments
from .webapp.limits import Limits

LIMITS = {  # flag: field of Limits, in which unit, and what it is of
    'max_pixels': ('pixels', 1, 'N', 'of a picture'),
    'max_upload': ('upload', 2**20, 'MIB', 'of a file'),
    'max_refs': ('references', 1, 'N', 'photos of references'),
    'max_users': ('sessions', 1, 'N', 'browser tabs at a time'),
    'max_memory': ('memory', 2**30, 'GIB', 'of all pictures'),
    'minutes': ('minutes', 1, 'MINUTES', 'without use after which a tab is forgotten'),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser('refstar app', description=__doc__)
    network_arguments(p)
    page = p.add_argument_group('the page')
    serving_arguments(page, 8412, "whoever reaches it can use this machine's network")
    limits = p.add_argument_group('limits')
    for flag, (field, unit, metavar, what) in LIMITS.items():
        kind, usual = int if metavar == 'N' else float, getattr(Limits, field) / unit
        text = f'{what} (default: {usual:,.10g})'
        limits.add_argument(f'--{flag}', type=kind, default=kind(usual), metavar=metavar, help=text)
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: run(args))


def limits_of(args: argparse.Namespace) -> Limits:
    """Arguments as :class:`~refstar.tools.webapp.limits.Limits`."""
    given = {field: (unit, getattr(args, flag)) for flag, (field, unit, _, _) in LIMITS.items()}
    return Limits(**{field: value if unit == 1 else int(value * unit) for field, (unit, value) in given.items()})


def run(args: argparse.Namespace) -> None:
    """Serves until interrupted (Ctrl+C or SIGTERM).

    Raises:
        RefStarError: the arguments make no sense, a file is missing, the libraries are absent ...
    """
    from refstar.utils.errors import RefStarError

    token = checked_token(args)
    for name in LIMITS:
        if not 0 < getattr(args, name) < float('inf'):
            raise RefStarError(f'--{name} must be a number above 0, got {getattr(args, name)}')

    def make_app():
        from .webapp.server import web_app

        return web_app(open_restorer(args), limits_of(args), Path(args.network).name, args.host, token)

    notes = [] if args.detector else ['no --detector: the page takes square, FFHQ-aligned faces only']
    serve(make_app, args, token, notes, limit_concurrency=256)


if __name__ == '__main__':
    sys.exit(main())
