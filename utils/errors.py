"""The one exception type of user errors."""

from collections.abc import Iterable
from difflib import get_close_matches


class RefStarError(ValueError):
    """Wrong input by the user: the message names the file, key or value and says what to do.

    The commands print it as one line `error: ...` on stderr and end with exit code 2.
    """


def nearest(name: object, known: Iterable[object]) -> str:
    """Return `; nearest: a, b`, the known names most like `name` whatever the case, or '' if none is."""
    spelt = {str(candidate).lower(): str(candidate) for candidate in known}
    found = get_close_matches(str(name).lower(), spelt, 3, 0.4)
    return f'; nearest: {", ".join(spelt[match] for match in found)}' if found else ''
