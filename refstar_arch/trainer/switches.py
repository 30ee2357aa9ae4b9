"""The option keys that this project adds to BasicSR's trainer, for every model: what they do, and what they may be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import RefStarError


@dataclass(frozen=True)
class Key:
    """One option.

    Attributes:
        text: what it does, for the documentation.
        wanted: what it may be, for the error message.
        fits: whether a value is that; a missing value always is.
    """

    text: str
    wanted: str
    fits: Callable[[Any], bool]


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def is_count(value: Any) -> bool:
    """A whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _are_names(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and all(isinstance(name, str) for name in value))


NETWORKS = 'true (all trained networks) or a list of them, e.g. [g, d] for network_g and network_d'

TRAIN = {
    'amp': Key(
        'mixed precision: forward passes in this type, weights and optimizers in float32; fp16 scales the loss, and '
        'the scale is saved (default: float32 throughout)',
        'bf16 or fp16',
        lambda value: value in ('bf16', 'fp16'),
    ),
    'tf32': Key('float32 products of CUDA devices in TF32 (default: as torch has it)', 'true or false', _is_bool),
    'channels_last': Key('networks in the memory format that convolutions like best', NETWORKS, _are_names),
    'compile': Key('networks, or modules of them (g.backbone), run through torch.compile', NETWORKS, _are_names),
    'compile_kwargs': Key(
        'arguments of torch.compile, e.g. {mode: max-autotune}', 'a block', lambda value: isinstance(value, dict)
    ),
    'accumulate': Key(
        'every iteration takes so many batches of batch_size_per_gpu one after the other and adds up their gradients: '
        'the step of the large batch in the memory of the small one (default 1)',
        'a whole number from 1',
        is_count,
    ),
    'grad_clip': Key(
        "largest norm of net_g's gradient; its norm is logged as grad_norm (0, the default: no clipping)",
        'a number from 0',
        _is_size,
    ),
    'nonfinite_limit': Key(
        'the run stops, with a checkpoint, once so many steps in a row were left out because a loss or a gradient was '
        'not finite (default 10; looked at every print_freq iterations)',
        'a whole number from 1',
        is_count,
    ),
}

LOGGER = {
    'keep_last': Key(
        'how many of the latest checkpoints are kept (default: all); best and latest ones do not count',
        'a whole number from 1',
        is_count,
    ),
    'keep_best': Key(
        'metric of val.metrics: networks of the best validation so far are kept as net_*_best.pth',
        'a metric of val.metrics',
        lambda value: isinstance(value, str),
    ),
}


def check_values(block: dict[str, Any], keys: dict[str, Key], where: str) -> None:
    """Raises RefStarError at the first value of `block` that its key cannot have.

    Args:
        block: options, also others than those in `keys`.
        keys: TRAIN or LOGGER.
        where: path of the block in the option file, `train:`.
    """
    for name, key in keys.items():
        value = block.get(name)
        if value is not None and not key.fits(value):
            raise RefStarError(f'{where}{name}: expected {key.wanted}, got {value!r}')
