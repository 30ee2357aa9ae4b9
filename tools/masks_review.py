"""`refstar masks review`: a local web page where a person goes through the masks of a collection with the keyboard."""

import argparse
import secrets
import signal
import socket
import string
from pathlib import Path

from ..data.masks.review import MaskReview
from ..errors import RefStarError
from .entry import report
from .review.guard import is_loopback

SHORTEST_TOKEN, TOKEN_LETTERS = 16, set(string.ascii_letters + string.digits + '-_')


def main(argv: list[str] | None = None) -> int:
    """Entry point of `refstar masks review`."""
    args = _parser().parse_args(argv)
    return report(lambda: serve(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser('refstar masks review', description=__doc__)
    parser.add_argument('root', type=Path, help='folder with gt/, ref/, mask/ and meta.csv')
    parser.add_argument('--port', type=int, default=8411, help='0 for any free one (default %(default)s)')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='listen on this address of the machine instead of the loopback; whoever reaches it could see the photos '
        'and decide, so this needs --token',
    )
    parser.add_argument(
        '--token',
        nargs='?',
        const='',
        metavar='SECRET',
        help='let only browsers in that know this secret; without a value one is drawn. Also of use on the loopback '
        'where other people work on the same machine',
    )
    return parser


def serve(args: argparse.Namespace) -> None:
    """Serves until interrupted (Ctrl+C or SIGTERM).

    Raises:
        RefStarError: the arguments make no sense, the libraries are absent, the folder is no collection ...
    """
    token = secrets.token_urlsafe(24) if args.token == '' else args.token
    _check(args.host, args.port, token)
    try:
        import uvicorn

        from .review.app import review_app
    except ModuleNotFoundError as error:
        raise RefStarError(f"{error.name} is not installed; pip install 'refstar[app]'") from None
    review = MaskReview(args.root)
    try:
        with _listen(args.host, args.port) as listener:
            config = uvicorn.Config(
                review_app(review, args.host, token), log_level='warning', ws='none', timeout_graceful_shutdown=3
            )
            server = uvicorn.Server(config)
            # uvicorn takes the signal itself a moment later, and raises it again at the end: both must find a handler
            # that raises nothing, for an exception may be lost in between
            signal.signal(signal.SIGTERM, server.handle_exit)
            for note in review.notes:
                print(f'note: {note}', flush=True)
            print(f'{_address(args.host, listener.getsockname()[1], token)}   (Ctrl+C ends)', flush=True)
            server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        review.close()
    counts = review.counts()
    done = ', '.join(f'{number} {state}' for state, number in sorted(counts['reviewed'].items())) or 'none'
    print(f'reviewed, of {counts["total"]}: {done}; meta.csv is up to date', flush=True)


def _check(host: str, port: int, token: str | None) -> None:
    if host in ('0.0.0.0', '::', ''):
        raise RefStarError(f'--host {host}: give the one address or name by which browsers shall reach this machine')
    if token is None and not is_loopback(host):
        raise RefStarError(f'--host {host}: others can reach it, to see the photos and to decide; add --token')
    if token is not None and (len(token) < SHORTEST_TOKEN or set(token) - TOKEN_LETTERS):
        raise RefStarError(f'--token: at least {SHORTEST_TOKEN} letters, digits, - or _; or give --token alone')
    if not 0 <= port < 2**16:
        raise RefStarError(f'--port {port}: must lie between 0 and 65535')


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address, family=family)
    except OSError as error:
        raise RefStarError(f'--host {host} --port {port}: cannot listen there ({error.strerror})') from None
    return listener


def _address(host: str, port: int, token: str | None) -> str:
    name = f'[{host}]' if ':' in host else host
    return f'http://{name}:{port}/' + (f'?token={token}' if token else '')
