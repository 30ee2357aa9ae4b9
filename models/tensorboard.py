"""Option keys of the pictures for TensorBoard: what a model with references takes from where, while it trains."""

from typing import Any

from refstar.trainer import training_options
from refstar.utils.errors import RefStarError

LOGGER = {
    'image_freq': training_options.Key(
        'with use_tb_logger: every so many iterations the first sample of the training batch is drawn for TensorBoard: '
        'LQ, reference with its selection, output with and without it, GT, flow (default: never)',
        'a whole number from 1',
        training_options.is_count,
    ),
}
VAL = {
    'tb_images': training_options.Key(
        'with use_tb_logger: so many photos of every validation are drawn like that, in all arms (default: none)',
        'a whole number from 1',
        training_options.is_count,
    ),
}
KEYS = {
    f'{block}.{name}': f'{key.text}. *{key.wanted}*'
    for block, keys in (('logger', LOGGER), ('val', VAL))
    for name, key in keys.items()
}


def check(opt: dict[str, Any]) -> None:
    """Checks the keys above in the options of a training.

    Raises:
        RefStarError: a wrong value, or there is no TensorBoard to draw for.
    """
    logger = opt.get('logger') or {}
    for where, keys in (('logger', LOGGER), ('val', VAL)):
        block = opt.get(where) or {}
        training_options.check_values(block, keys, f'{where}:')
        for name in keys:
            if block.get(name) and not logger.get('use_tb_logger'):
                raise RefStarError(f'{where}:{name} needs logger:use_tb_logger: true')
