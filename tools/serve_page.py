"""Serve a Gradio page with a password and a temporary folder of its own; a mask under a brush."""

import argparse
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from refstar.utils.errors import RefStarError

USER = 'refstar'
LOOPBACK = ('localhost', '127.0.0.1', '[::1]')
COLOUR, ALPHA = '#14b981', 128  # of a full mask over the picture; opacity of 255
UNCHANGED = 6  # differences of opacity that browsers make by rounding
SYSTEM_FONTS = {'font': ('system-ui', 'sans-serif'), 'font_mono': ('ui-monospace', 'monospace')}


def add_serving_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup, port: int, danger: str) -> None:
    """Add `--port`, `--host` and `--token`; `danger` is what whoever reaches the page could do."""
    parser.add_argument('--port', type=int, default=port, help='0 for any free one (default %(default)s)')
    text = f'listen on this address of the machine instead of the loopback; {danger}, so this needs --token'
    parser.add_argument('--host', default='127.0.0.1', help=text)
    text = f'ask for this password (user name: {USER}); without a value one is drawn and printed. Also of use on the '
    text += 'loopback where other people work on the same machine'
    parser.add_argument('--token', nargs='?', const='', metavar='SECRET', help=text)


def check_serving_arguments(args: argparse.Namespace) -> None:
    """Draw a password if the flag has no value.

    Raises:
        RefStarError: the host is not one free address, or others could reach the page and there is no password.
    """
    if args.host in ('0.0.0.0', '::', ''):
        raise RefStarError(f'--host {args.host}: give the one address by which browsers shall reach this machine')
    if args.token is None and args.host not in LOOPBACK:
        raise RefStarError(f'--host {args.host}: others can reach the page; add --token')
    family = socket.AF_INET6 if ':' in args.host else socket.AF_INET
    try:
        socket.create_server((args.host.strip('[]'), args.port), family=family).close()
    except (OSError, OverflowError) as error:
        raise RefStarError(f'--host {args.host} --port {args.port}: cannot listen there ({error})') from None
    if args.token == '':
        args.token = secrets.token_urlsafe(24)


def serve(make_page: Callable[[], Any], args: argparse.Namespace, notes: Sequence[str] = (), **more: Any) -> None:
    """Print notes, and serve a page until it is interrupted (Ctrl+C or SIGTERM). The rest is as of :func:`launched`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), launched(make_page, args, **more) as page:
        for note in notes:
            print(f'note: {note}', flush=True)
        password = f'   user name: {USER}   password: {args.token}' if args.token else ''
        print(f'{page.local_url}{password}   (Ctrl+C ends)', flush=True)
        page.block_thread()


@contextmanager
def launched(make_page: Callable[[], Any], args: argparse.Namespace, **more: Any) -> Iterator[Any]:
    """Serve a page by a thread. Its temporary folder is deleted at the end.

    Args:
        make_page: returns the `gradio.Blocks`.
        args: those of :func:`add_serving_arguments`. Requests for other names than its and the loopback's are refused.
        **more: further arguments of `gradio.Blocks.launch`.

    Raises:
        RefStarError: Gradio is not installed.
    """
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    try:
        import gradio
    except ModuleNotFoundError:
        raise RefStarError("gradio is not installed; pip install 'refstar[app]'") from None
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, args.host], www_redirect=False)
    with tempfile.TemporaryDirectory(prefix='refstar_', ignore_cleanup_errors=True) as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder
        page = make_page()
        page.launch(
            server_name=args.host,
            server_port=args.port or None,
            auth=(USER, args.token) if args.token else None,
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
        try:
            yield page
        finally:
            page.close(verbose=False)


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
    """Return (H, W, 3) RGB with a mask (H, W) as a green layer, both uint8: a value of the editor."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    tint = np.random.default_rng().integers(-7, 8, 3)  # the editor loads a layer again only if it differs from the last
    layer[..., :3] = np.array(list(bytes.fromhex(COLOUR[1:]))) + tint
    layer[..., 3] = np.rint(mask * (ALPHA / 255))
    return {'background': np.asarray(picture), 'layers': [layer], 'composite': None}


def painted_mask(drawn: dict | None, mask: np.ndarray) -> np.ndarray:
    """Return the mask, (H, W) uint8, as the user changed it; `drawn` is the value of the editor."""
    if not drawn or not drawn['layers'] or drawn['layers'][0].shape[:2] != mask.shape:
        return mask
    alpha = np.max([layer[..., 3] for layer in drawn['layers']], 0).astype(np.float32)
    changed = np.abs(alpha - mask * (ALPHA / 255)) > UNCHANGED
    return np.where(changed, np.rint(np.minimum(alpha / ALPHA, 1) * 255), mask).astype(np.uint8)
