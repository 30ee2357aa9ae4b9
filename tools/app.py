"""`refstar app`: a local web page that restores a photo with good photos of the same person. docs/app.md says more."""

import argparse
import sys
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import run_command
from .restore import network_arguments, open_restorer
from .serve_page import add_serving_arguments, check_serving_arguments, serve


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    p = CommandParser('refstar app', description=__doc__)
    network_arguments(p)
    page = p.add_argument_group('the page')
    add_serving_arguments(page, 8412, "whoever reaches it can use this machine's network")
    limits = p.add_argument_group('limits')
    limits.add_argument('--max_pixels', type=int, default=25_000_000, help='pixels of a picture (default %(default)s)')
    limits.add_argument('--max_upload', type=float, default=32, help='size of a file in MiB (default %(default)s)')
    limits.add_argument('--max_refs', type=int, default=8, help='photos of references (default %(default)s)')
    forgotten = 'minutes without use after which a tab and its pictures are forgotten (default %(default)s)'
    limits.add_argument('--minutes', type=float, default=30, help=forgotten)
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    return run_command(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Serve the page until it is interrupted (Ctrl+C or SIGTERM).

    Raises:
        RefStarError: the arguments make no sense, a file is missing, Gradio is not installed ...
    """
    check_serving_arguments(args)
    for name in ('max_pixels', 'max_upload', 'max_refs', 'minutes'):
        if not 0 < getattr(args, name) < float('inf'):
            raise RefStarError(f'--{name} must be a number above 0, got {getattr(args, name)}')
    from .app_page import AppPage  # imports torch

    page = AppPage(open_restorer(args), args, Path(args.network).name)
    notes = [] if args.detector else ['no --detector: the page takes square, FFHQ-aligned faces only']
    serve(page.build, args, notes, max_file_size=int(args.max_upload * 2**20))


if __name__ == '__main__':
    sys.exit(main())
