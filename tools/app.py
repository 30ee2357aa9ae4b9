"""`refstar app`: a local web page that restores a photo with good photos of the same person. docs/app.md says more."""

import argparse
import sys
from pathlib import Path

from refstar.utils.errors import RefStarError

from .app_page import AppPage
from .cli_common import run_command
from .restore import network_arguments, open_restorer
from .serve_page import add_serving_arguments, checked_token, serve

LIMITS = {  # flag: default, unit, what it limits
    'max_pixels': (25_000_000, 'N', 'pixels of a picture'),
    'max_upload': (32.0, 'MIB', 'size of a file'),
    'max_refs': (8, 'N', 'photos of references'),
    'max_users': (64, 'N', 'browser tabs at a time; of more the one that was not used longest is forgotten'),
    'max_memory': (2.0, 'GIB', 'photos of all tabs together'),
    'minutes': (30.0, 'MINUTES', 'without use after which a tab and its pictures are forgotten'),
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    p = argparse.ArgumentParser('refstar app', description=__doc__)
    network_arguments(p)
    page = p.add_argument_group('the page')
    add_serving_arguments(page, 8412, "whoever reaches it can use this machine's network")
    limits = p.add_argument_group('limits')
    for flag, (default, metavar, what) in LIMITS.items():
        text = f'{what} (default: {default:,.10g})'
        limits.add_argument(f'--{flag}', type=type(default), default=default, metavar=metavar, help=text)
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Serve the page until it is interrupted (Ctrl+C or SIGTERM).

    Raises:
        RefStarError: the arguments make no sense, a file is missing, Gradio is not installed ...
    """
    token = checked_token(args)
    for name in LIMITS:
        if not 0 < getattr(args, name) < float('inf'):
            raise RefStarError(f'--{name} must be a number above 0, got {getattr(args, name)}')
    notes = [] if args.detector else ['no --detector: the page takes square, FFHQ-aligned faces only']
    serve(
        lambda: AppPage(open_restorer(args), args, Path(args.network).name).build(),
        args,
        token,
        notes,
        max_file_size=int(args.max_upload * 2**20),
        state_session_capacity=args.max_users,
    )


if __name__ == '__main__':
    sys.exit(main())
