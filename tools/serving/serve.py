"""Serving a local page until Ctrl+C: address, token, signals."""

import argparse
import secrets
import signal
import socket
import string
from collections.abc import Callable, Sequence
from typing import Any

from refstar.utils.errors import RefStarError

from .guard import is_loopback

SHORTEST_TOKEN, TOKEN_LETTERS = 16, set(string.ascii_letters + string.digits + '-_')


def serving_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup, port: int, danger: str) -> None:
    """Where a page is served.

    Args:
        parser: gets the arguments.
        port: the usual one.
        danger: what whoever reaches the page could do.
    """
    parser.add_argument('--port', type=int, default=port, help='0 for any free one (default %(default)s)')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help=f'listen on this address of the machine instead of the loopback; {danger}, so this needs --token',
    )
    parser.add_argument(
        '--token',
        nargs='?',
        const='',
        metavar='SECRET',
        help='let only browsers in that know this secret; without a value one is drawn. Also of use on the loopback '
        'where other people work on the same machine',
    )


def checked_token(args: argparse.Namespace) -> str | None:
    """The token of the arguments, drawn if none was given with the flag.

    Raises:
        RefStarError: address, port and token make no sense together.
    """
    host, port = args.host, args.port
    token = secrets.token_urlsafe(24) if args.token == '' else args.token
    if host in ('0.0.0.0', '::', ''):
        raise RefStarError(f'--host {host}: give the one address or name by which browsers shall reach this machine')
    if token is None and not is_loopback(host):
        raise RefStarError(f'--host {host}: others can reach the page; add --token')
    if token is not None and (len(token) < SHORTEST_TOKEN or set(token) - TOKEN_LETTERS):
        raise RefStarError(f'--token: at least {SHORTEST_TOKEN} letters, digits, - or _; or give --token alone')
    if not 0 <= port < 2**16:
        raise RefStarError(f'--port {port}: must lie between 0 and 65535')
    return token


def serve(
    make_app: Callable[[], Any], args: argparse.Namespace, token: str | None, notes: Sequence[str] = (), **config: Any
) -> None:
    """Serves until interrupted (Ctrl+C or SIGTERM).

    Args:
        make_app: gives the ASGI application; it may import starlette.
        args: those of :func:`serving_arguments`.
        token: of :func:`checked_token`.
        notes: what is said before the address.
        **config: further settings of uvicorn.

    Raises:
        RefStarError: the libraries are absent, or the address is not free.
    """
    try:
        import uvicorn

        app = make_app()
    except ModuleNotFoundError as error:
        raise RefStarError(f"{error.name} is not installed; pip install 'refstar[app]'") from None
    try:
        with _listen(args.host, args.port) as listener:
            usual = {'log_level': 'warning', 'ws': 'none', 'timeout_graceful_shutdown': 3}
            server = uvicorn.Server(uvicorn.Config(app, **usual | config))
            # uvicorn takes the signal itself a moment later, and raises it again at the end: both must find a handler
            # that raises nothing, for an exception may be lost in between
            signal.signal(signal.SIGTERM, server.handle_exit)
            for note in notes:
                print(f'note: {note}', flush=True)
            print(f'{_address(args.host, listener.getsockname()[1], token)}   (Ctrl+C ends)', flush=True)
            server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        raise RefStarError(f'--host {host} --port {port}: cannot listen there ({error.strerror})') from None


def _address(host: str, port: int, token: str | None) -> str:
    name = f'[{host}]' if ':' in host else host
    return f'http://{name}:{port}/' + (f'?token={token}' if token else '')
