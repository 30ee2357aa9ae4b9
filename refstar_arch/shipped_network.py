"""The small network that ships with the package, so that every command does something real on a fresh machine."""

import sys
from pathlib import Path

SHIPPED = Path(__file__).parent / 'pretrained' / 'refstar_small_128.safetensors'  # made by `make small`
ABOUT = 'the small network that ships (128 px, trained on synthetic faces: to try things out, not for photos)'


def network_or_shipped(path: str | Path | None) -> Path:
    """A network's file; where none is given the one that ships, which standard error then says."""
    if path:
        return Path(path)
    print(f'no --network FILE: taking {ABOUT}', file=sys.stderr, flush=True)
    return SHIPPED
