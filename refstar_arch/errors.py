"""The one exception type of user errors."""


class RefStarError(ValueError):
    """Wrong input by the user: the message names the file, key or value and says what to do.

    The commands print it as one line `error: ...` on stderr and end with exit code 2.
    """
