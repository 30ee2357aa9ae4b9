"""`refstar app`: a local web page that restores a photo with good photos of the same person. docs/app.md says more."""

import argparse
import sys
from pathlib import Path

from .entry import report
from .restore import network_arguments, open_restorer
from .serving.serve import checked_token, serve, serving_arguments


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser('refstar app', description=__doc__)
    network_arguments(p)
    page = p.add_argument_group('the page')
    serving_arguments(page, 8412, "whoever reaches it can use this machine's network")
    limits = p.add_argument_group('limits')
    limits.add_argument(
        '--max_pixels', type=int, default=25_000_000, metavar='N', help='of a picture (default: 25 million)'
    )
    limits.add_argument('--max_upload', type=float, default=32, metavar='MIB', help='of a file (default: 32)')
    limits.add_argument('--max_refs', type=int, default=8, metavar='N', help='photos of references (default: 8)')
    limits.add_argument('--max_users', type=int, default=64, metavar='N', help='browser tabs at a time (default: 64)')
    limits.add_argument('--max_memory', type=float, default=2, metavar='GIB', help='of all pictures (default: 2)')
    limits.add_argument(
        '--minutes', type=float, default=30, help='without use after which a tab is forgotten (default: 30)'
    )
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(sys.argv[1:] if argv is None else argv)
    return report(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Serves until interrupted (Ctrl+C or SIGTERM).

    Raises:
        RefStarError: the arguments make no sense, a file is missing, the libraries are absent ...
    """
    from ..errors import RefStarError

    token = checked_token(args)
    for name in ('max_pixels', 'max_upload', 'max_refs', 'max_users', 'max_memory', 'minutes'):
        if not 0 < getattr(args, name) < float('inf'):
            raise RefStarError(f'--{name} must be a number above 0, got {getattr(args, name)}')

    def make_app():
        from .webapp.server import web_app
        from .webapp.sessions import Limits

        limits = Limits(
            upload=int(args.max_upload * 2**20),
            pixels=args.max_pixels,
            references=args.max_refs,
            sessions=args.max_users,
            minutes=args.minutes,
            memory=int(args.max_memory * 2**30),
        )
        return web_app(open_restorer(args), limits, Path(args.network).name, args.host, token)

    notes = [] if args.detector else ['no --detector: the page takes square, FFHQ-aligned faces only']
    serve(make_app, args, token, notes, limit_concurrency=256)


if __name__ == '__main__':
    sys.exit(main())
