"""How loops over pixels are compiled, by numba: those of `blur_loops.py` and of `synthetic/compiled`.

Import it, and what it compiles, inside functions only: numba takes a second to import, which `import refstar` should
not.

Everything in them is float32: a bare number in an expression would make it float64, hence their many ``F(...)``.
One thread works on a photo: results do not depend on how many there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from refstar.utils.errors import RefStarError

try:
    import numba
except ImportError as error:
    raise RefStarError(f'numba cannot be imported ({error}): pip install numba') from error

F = np.float32
_OPTIONS = {'fastmath': True, 'error_model': 'numpy', 'nogil': True}
# numba keeps what it compiled for as long as the loop's own file stays the same. Loops call functions of other files
# and know their constants, so the state of all of them is in a loop's name.
_SOURCES = [Path(__file__), *sorted((Path(__file__).parent / 'synthetic').rglob('*.py'))]
_STATE = hashlib.sha256(b''.join(path.read_bytes() for path in _SOURCES)).hexdigest()[:12]

point = numba.njit(forceinline=True, **_OPTIONS)  # a function of one point, for loops


def loop(function: Callable) -> Callable:
    """Compiles a loop at its first call, and keeps it on disk for all processes.

    It is kept in NUMBA_CACHE_DIR if that is set, else beside the source, else in the user's cache folder; where none of
    them can be written to, every process compiles for itself.
    """
    function.__qualname__ += f'_{_STATE}'
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(**_OPTIONS)(function)
