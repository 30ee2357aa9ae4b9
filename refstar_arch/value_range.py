"""Images between [-1, 1], in which this package thinks, and the range in which a network takes them."""

from torch import Tensor


def to_range(x: Tensor, value_range: tuple[float, float]) -> Tensor:
    """[-1, 1] -> a network's range (black, white)."""
    low, high = value_range
    return x if (low, high) == (-1, 1) else (x + 1) * ((high - low) / 2) + low


def from_range(x: Tensor, value_range: tuple[float, float]) -> Tensor:
    """A network's range (black, white) -> [-1, 1]."""
    low, high = value_range
    return x if (low, high) == (-1, 1) else (x - low) * (2 / (high - low)) - 1
