"""`refstar app`: a local web page that restores a photo with good photos of the same person.

docs/app.md says more.
"""

import sys
from argparse import Namespace
from pathlib import Path

from refstar.utils.errors import CommandParser

from .cli_common import at_least, command
from .restore import network_arguments, open_restorer
from .serve_page import add_serving_arguments, check_serving_arguments, serve


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    network_arguments(p)
    add_serving_arguments(p, 8412, "whoever reaches it can use this machine's network")
    limits = p.add_argument_group('limits (defaults in brackets)')
    limits.add_argument('--max_pixels', type=at_least(1), default=25_000_000, help='pixels of a picture (%(default)s)')
    limits.add_argument('--max_upload', type=at_least(0.01, float), default=32, help='MiB of a file (%(default)s)')
    limits.add_argument('--max_refs', type=at_least(1), default=8, help='photos of references (%(default)s)')
    text = 'without use, after which a tab and its pictures are forgotten (%(default)s)'
    limits.add_argument('--minutes', type=at_least(0.01, float), default=30, help=text)


def run(args: Namespace) -> None:
    """Serve the page until it is interrupted (Ctrl+C or SIGTERM).

    Raises:
        RefStarError: the arguments make no sense, a file is missing, Gradio is not installed ...
    """
    check_serving_arguments(args)
    from .app_page import AppPage  # imports torch

    page = AppPage(open_restorer(args), args, Path(args.network).name)
    notes = [] if args.detector else ['no --detector: the page takes square, FFHQ-aligned faces only']
    serve(page.build, args, notes, max_file_size=int(args.max_upload * 2**20))


main = command('refstar app', __doc__, add_arguments, run)

if __name__ == '__main__':
    sys.exit(main())
