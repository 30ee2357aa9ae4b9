"""Checks before a long training: everything that its options name is there and can be loaded."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from refstar.utils.errors import RefStarError


def blocks(options: Any) -> Iterator[dict]:
    """Yield all mappings in options."""
    if isinstance(options, dict):
        yield options
        options = list(options.values())
    for value in options if isinstance(options, list) else ():
        yield from blocks(value)


def check_needs(options: list[dict], files: Iterable[Path] = ()) -> None:
    """End the program by one line if a file or package is missing that options need.

    Args:
        options: contents of option files. Their data folders, lists and weights are looked for. Every frozen identity
            network is built, since some need packages of their own.
        files: further files.
    """
    import basicsr  # noqa: F401  (registers everything)

    from refstar.identity_arch import IdentityEncoder

    wanted, networks = dict.fromkeys(map(str, files)), {}
    for block in blocks(options):
        for key in ('dataroot', 'split_file', 'weights'):
            if isinstance(block.get(key), str):
                wanted[block[key]] = None
        if block.get('weights') and isinstance(block.get('network'), str):
            networks[block['network'], block['weights']] = None
    try:
        for path in wanted:
            if not Path(path).exists():
                raise RefStarError(f'{path}: not there')
        for network, weights in networks:
            IdentityEncoder(network, weights)
    except RefStarError as error:
        sys.exit(f'error: {error}')
