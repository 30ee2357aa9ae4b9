"""What is mended in BasicSR 1.4.2, GFPGAN 1.3.8 and facexlib 0.3.0, each by one function that says what breaks."""

import numpy as np


class NumpyWithFloat:
    """The numpy module with the alias `float`, which numpy 1.24 removed."""

    float = float

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)


def apply() -> None:
    """Applies every fix to the imported basicsr."""
