"""Files that would run code are refused with one line, those that BasicSR, GFPGAN and facexlib read too."""

from collections.abc import Callable
from functools import wraps
from pickle import UnpicklingError
from traceback import walk_tb
from typing import Any

from refstar.utils.errors import RefStarError


def refusing(run: Callable[..., Any]) -> Callable[..., Any]:
    """A function in which `torch.load` meets a file with more than tensors and plain values.

    Raises:
        RefStarError: names the file.
    """

    @wraps(run)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except UnpicklingError as error:
            raise RefStarError(
                f'{_file(error)}: holds Python objects besides tensors and plain values, or is broken; nothing of it '
                'was run'
            ) from error

    return guarded


def _file(error: UnpicklingError) -> str:
    """What `torch.load` was asked to read."""
    names = [frame.f_locals.get('f') for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == 'load']
    return next((str(getattr(name, 'name', name)) for name in names if name is not None), 'a file')
