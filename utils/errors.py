"""User errors: the one exception type, and a command line that raises it."""

import argparse
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

USER_ERROR = 2  # exit code


class RefStarError(ValueError):
    """Wrong input by the user: the message names the file, key or value and says what to do.

    The commands print it as one line `error: ...` on stderr and end with exit code 2.
    """


class CommandParser(argparse.ArgumentParser):
    """Parse a command line; show the text of its help page as it stands."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{'formatter_class': argparse.RawDescriptionHelpFormatter, **more})

    def error(self, message: str) -> NoReturn:
        """Raise a wrong argument as a RefStarError that names the help page."""
        raise RefStarError(f'{message}; see {self.prog} --help')


def nearest(name: object, known: Iterable[object]) -> str:
    """Return `; nearest: a, b`, the known names most like `name` whatever the case, or '' if none is."""
    spelt = {str(candidate).lower(): str(candidate) for candidate in known}
    found = get_close_matches(str(name).lower(), spelt, 3, 0.4)
    return f'; nearest: {", ".join(spelt[match] for match in found)}' if found else ''
