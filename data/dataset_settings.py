"""Checked values of dataset options: a wrong one is an error that names the key."""

from collections.abc import Mapping, Sequence

from refstar.utils.errors import RefStarError


def whole(opt: Mapping, key: str, default: int | None = None, low: int = 0) -> int:
    """A whole number of at least `low`; without a default the key must be given.

    Raises:
        RefStarError: it is missing or no such number.
    """
    value = opt.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise RefStarError(f'dataset: {key} must be a whole number of at least {low}, got {value!r}')
    return value


def number(opt: Mapping, key: str, default: float, high: float = 1.0) -> float:
    """A number in [0, high].

    Raises:
        RefStarError: it is none.
    """
    value = opt.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= high:
        raise RefStarError(f'dataset: {key} must be a number from 0 to {high:g}, got {value!r}')
    return float(value)


def switch(opt: Mapping, key: str, default: bool = False) -> bool:
    """True or false.

    Raises:
        RefStarError: it is neither.
    """
    value = opt.get(key, default)
    if not isinstance(value, bool):
        raise RefStarError(f'dataset: {key} must be true or false, got {value!r}')
    return value


def choice(opt: Mapping, key: str, known: Sequence[str]) -> str:
    """One of the known words; the first if the key is not given.

    Raises:
        RefStarError: another word.
    """
    value = opt.get(key, known[0])
    if value not in known:
        raise RefStarError(f'dataset: {key} must be {" or ".join(known)}, got {value!r}')
    return value
