"""The option keys that this project adds to BasicSR's trainer, for every model: what they do, and what they may be."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refstar.utils.errors import RefStarError


@dataclass(frozen=True)
class Key:
    """One option.

    Attributes:
        text: what it does, for the documentation.
        wanted: what it may be, for documentation and error message; '': it is checked elsewhere, or may be anything.
        fits: whether a value is that.
        empty: whether `~` is the same as leaving it out.
    """

    text: str
    wanted: str = ''
    fits: Callable[[Any], bool] = lambda value: True
    empty: bool = True

    @property
    def line(self) -> str:
        """What it does and may be."""
        return f'{self.text}. *{self.wanted}*' if self.wanted else self.text


def is_number(value: Any) -> bool:
    """A finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int) -> Callable[[Any], bool]:
    """Tests for an int from `least`."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def iterations(least: int) -> Callable[[Any], bool]:
    """Tests for a whole number from `least`; BasicSR's option files write `5e3`."""
    return lambda value: is_number(value) and value == int(value) and value >= least


def is_block(value: Any) -> bool:
    """A block of options."""
    return isinstance(value, dict)


is_count = whole(1)
COUNT = ('a whole number from 1', is_count)
NUMBER = ('a number', is_number)
SIZE = ('a number from 0', lambda value: is_number(value) and value >= 0)
YES_OR_NO = ('true or false', lambda value: isinstance(value, bool))
TEXT = ('text', lambda value: isinstance(value, str))
BLOCK = ('a block', is_block)
NETWORKS = (
    'true (all trained networks) or a list of them, e.g. [g, d] for network_g and network_d',
    lambda value: isinstance(value, bool) or (isinstance(value, list) and all(isinstance(x, str) for x in value)),
)

TRAIN = {
    'amp': Key(
        'mixed precision: forward passes in this type, weights and optimizers in float32; fp16 scales the loss, and '
        'the scale is saved (default: float32 throughout)',
        'bf16 or fp16',
        lambda value: value in ('bf16', 'fp16'),
    ),
    'tf32': Key('float32 products of CUDA devices in TF32 (default: as torch has it)', *YES_OR_NO),
    'channels_last': Key('networks in the memory format that convolutions like best', *NETWORKS),
    'compile': Key('networks, or modules of them (g.refsel), run through torch.compile', *NETWORKS),
    'compile_kwargs': Key('arguments of torch.compile, e.g. {mode: max-autotune}', *BLOCK),
    'accumulate': Key(
        'every iteration takes so many batches of batch_size_per_gpu one after the other and adds up their gradients: '
        'the step of the large batch in the memory of the small one (default 1)',
        *COUNT,
    ),
    'grad_clip': Key(
        "largest norm of net_g's gradient; its norm is logged as grad_norm (0, the default: no clipping)",
        *SIZE,
    ),
    'nonfinite_limit': Key(
        'the run stops, with a checkpoint, once so many steps in a row were left out because a loss or a gradient was '
        'not finite (default 10; looked at every print_freq iterations)',
        *COUNT,
    ),
}

LOGGER = {
    'keep_last': Key(
        'how many of the latest checkpoints are kept (default: all); best and latest ones do not count',
        *COUNT,
    ),
    'keep_best': Key(
        'metric of val.metrics: networks of the best validation so far are kept as net_*_best.pth',
        'a metric of val.metrics',
        TEXT[1],
    ),
}


def check_values(block: dict[str, Any], keys: dict[str, Key], where: str) -> None:
    """Raises RefStarError at the first value of `block` that its key cannot have.

    Args:
        block: options, also others than those in `keys`.
        keys: TRAIN, LOGGER or others.
        where: path of the block in the option file, `train:`.
    """
    for name, key in keys.items():
        value = block.get(name)
        if name in block and not (key.empty if value is None else key.fits(value)):
            raise RefStarError(f'{where}{name}: expected {key.wanted}, got {value!r}')
