"""Serve a Gradio page until Ctrl+C: address, password, temporary folder. Used by `refstar app` and `masks review`."""

import argparse
import ipaddress
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from refstar.utils.errors import RefStarError

USER, SHORTEST_TOKEN = 'refstar', 16
LOOPBACK = ('localhost', '127.0.0.1', '[::1]')
COLOUR, UNCHANGED = '#14b981', 6  # of the mask; differences of opacity that browsers make by rounding
ALPHA = 128  # opacity of a full mask over the picture, of 255
KEYBOARD = """() => document.addEventListener('keydown', (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('textarea, input:not([type=radio], [type=checkbox])')) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (KEYS[key]) { event.preventDefault(); document.querySelector(KEYS[key])?.click(); }
})"""
SYSTEM_FONTS = {'font': ('system-ui', 'sans-serif'), 'font_mono': ('ui-monospace', 'monospace')}


def add_serving_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup, port: int, danger: str) -> None:
    """Add `--port`, `--host` and `--token`.

    Args:
        parser: gets the arguments.
        port: default port.
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
        help=f'ask for this password (user name: {USER}); without a value one is drawn and printed. Also of use on the '
        'loopback where other people work on the same machine',
    )


def checked_token(args: argparse.Namespace) -> str | None:
    """Return the password, drawn if the flag has no value; None without the flag.

    Raises:
        RefStarError: address, port and password make no sense together.
    """
    host, port = args.host, args.port
    token = secrets.token_urlsafe(24) if args.token == '' else args.token
    if host in ('0.0.0.0', '::', ''):
        raise RefStarError(f'--host {host}: give the one address or name by which browsers shall reach this machine')
    if token is None and not is_loopback(host):
        raise RefStarError(f'--host {host}: others can reach the page; add --token')
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise RefStarError(f'--token: at least {SHORTEST_TOKEN} characters; or give --token alone')
    if not 0 <= port < 2**16:
        raise RefStarError(f'--port {port}: must lie between 0 and 65535')
    return token


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach that host."""
    try:
        return host == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    make_page: Callable[[], Any], args: argparse.Namespace, token: str | None, notes: Sequence[str] = (), **more: Any
) -> None:
    """Serve a page until it is interrupted (Ctrl+C or SIGTERM). Its temporary folder is deleted then.

    Args:
        make_page: returns the `gradio.Blocks`.
        args: those of :func:`add_serving_arguments`.
        token: of :func:`checked_token`.
        notes: printed before the address.
        **more: further arguments of `gradio.Blocks.launch`.

    Raises:
        RefStarError: Gradio is not installed, or the address is not free.
    """
    if find_spec('gradio') is None:
        raise RefStarError("gradio is not installed; pip install 'refstar[app]'")
    port = _free_port(args.host, args.port)
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    with tempfile.TemporaryDirectory(prefix='refstar_', ignore_cleanup_errors=True) as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            page = make_page()
            url = launch(page, args.host, port, token, **more)
            for note in notes:
                print(f'note: {note}', flush=True)
            password = f'   user name: {USER}   password: {token}' if token else ''
            print(f'{url}{password}   (Ctrl+C ends)', flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            page.close(verbose=False)


def launch(page: Any, host: str, port: int, token: str | None, **more: Any) -> str:
    """Serve a page by a thread; returns its address.

    Args:
        page: a `gradio.Blocks`.
        host: name or address; requests for other names than this and the loopback's are refused.
        port: 0 for any free one.
        token: password, None for none.
        **more: further arguments of `gradio.Blocks.launch`.
    """
    import gradio
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    port = port or _free_port(host, 0)
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, host], www_redirect=False)
    page.launch(
        server_name=host,
        server_port=port,
        auth=(USER, token) if token else None,
        auth_message=f'User name: {USER}. The password is the one that the command printed or was given.',
        app_kwargs={'middleware': [hosts]},
        theme=gradio.themes.Default(primary_hue='emerald', **SYSTEM_FONTS),
        footer_links=[],
        run_history=False,
        share=False,
        ssr_mode=False,
        enable_monitoring=False,
        quiet=True,
        prevent_thread_lock=True,
        **more,
    )
    return f'http://{f"[{host}]" if ":" in host else host}:{port}/'


# --------------------------------------------------------------------- masks under a brush
def mask_editor(label: str, height: int) -> Any:
    """Return a `gradio.ImageEditor` for :func:`mask_layer`."""
    import gradio as gr

    return gr.ImageEditor(
        label=label,
        height=height,
        canvas_size=(32, 32),  # grows to the picture; a canvas larger than the picture would shift the layer
        type='numpy',
        format='png',
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(colors=[(COLOUR, ALPHA / 255)], color_mode='fixed'),
        buttons=[],
        elem_id='editor',
    )


def mask_layer(picture: np.ndarray, mask: np.ndarray) -> dict:
    """Return a picture with its mask as a green layer, a value of the editor.

    Args:
        picture: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8.
    """
    layer = np.zeros((*mask.shape, 4), np.uint8)
    tint = np.random.default_rng().integers(-7, 8, 3)  # the editor loads a layer again only if it differs from the last
    layer[..., :3] = np.array(list(bytes.fromhex(COLOUR[1:]))) + tint
    layer[..., 3] = np.rint(mask * (ALPHA / 255))
    return {'background': np.asarray(picture), 'layers': [layer], 'composite': None}


def painted_mask(drawn: dict | None, mask: np.ndarray) -> np.ndarray:
    """Return the mask as the user painted it, (H, W) uint8; where nothing was painted it is the mask as shown.

    Args:
        drawn: value of the editor; None or without layers: nothing was painted.
        mask: (H, W) uint8, as it was shown.
    """
    if not drawn or not drawn['layers'] or drawn['layers'][0].shape[:2] != mask.shape:
        return mask
    alpha = np.max([layer[..., 3] for layer in drawn['layers']], 0).astype(np.float32)
    changed = np.abs(alpha - mask * (ALPHA / 255)) > UNCHANGED
    return np.where(changed, np.rint(np.minimum(alpha / ALPHA, 1) * 255), mask).astype(np.uint8)


def temporary_folder() -> Path:
    """Return a new folder that Gradio serves files from; it is deleted with all others when the page ends."""
    return Path(tempfile.mkdtemp(dir=os.environ['GRADIO_TEMP_DIR']))


def _free_port(host: str, port: int) -> int:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address, family=family) as listener:
            return listener.getsockname()[1]
    except OSError as error:
        raise RefStarError(f'--host {host} --port {port}: cannot listen there ({error.strerror})') from None
