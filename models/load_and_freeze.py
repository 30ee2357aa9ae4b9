"""What is done with the parts of a RefSTAR network before training or a test, whatever the model: loading, freezing,
and the options of a test. Used by the models here and by the mixin for existing ones."""

from collections.abc import Iterable
from typing import Any

from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from pydantic import Field
from torch import nn

from refstar.utils.errors import RefStarError, nearest
from refstar.utils.option_block import IterationsFrom0, Names, OptionBlock


class PartOptions(OptionBlock):
    """Keys of every model with references."""

    class Path(OptionBlock):
        """Weights of parts of net_g."""

        pretrain_network_backbone: str | None = Field(
            None, description='weights of the bare backbone, loaded into net_g.backbone'
        )
        param_key_backbone: str | None = Field('params_ema', description='key in that file; ~ for a bare state dict')
        pretrain_network_refsel: str | None = Field(
            None, description='weights of a trained RefSel, loaded into net_g.refsel'
        )
        param_key_refsel: str | None = Field('params_ema', description='key in that file')

    class Train(OptionBlock):
        """Frozen weights."""

        freeze: Names | None = Field(
            None, description='modules of net_g whose weights stay as they are, e.g. [backbone, refsel]'
        )

    class Val(OptionBlock):
        """Arms of an evaluation."""

        arms: Names | None = Field(None, description='arms to run, out of right, none, wrong (default: all)')


class StrengthOptions(OptionBlock):
    """Keys of the models whose network has a strength."""

    class Train(OptionBlock):
        """Warm-up."""

        strength_warmup: IterationsFrom0 = Field(
            0, description='iterations over which strength grows from 0 to 1; 0: 1 from the start'
        )

    class Val(OptionBlock):
        """Arguments of `RefSTAR.forward` in tests; their values are checked by the model."""

        strength: Any = Field(1, description='strength in tests')
        combine: Any = Field('concat', description="how several references meet in tests: 'concat' or 'guidance'")
        guidance_scale: Any = Field(1, description='factor on the mean change in guidance')
        chunk: Any = Field(None, description='how many references are encoded at a time in tests (default: all)')


def load_parts(model: BaseModel, net: nn.Module) -> None:
    """Loads the weights of parts of net_g that are given apart; a full ``pretrain_network_g`` (resume) wins.

    Raises:
        RefStarError: the network has no such part, or the file does not fit.
    """
    path = model.opt['path']
    for part in ('backbone', 'refsel'):
        file = path.get(f'pretrain_network_{part}')
        if not file:
            continue
        if path.get('pretrain_network_g'):
            get_root_logger().info(f'path:pretrain_network_{part} is not read: pretrain_network_g holds all of net_g.')
            continue
        if not hasattr(net, part):
            raise RefStarError(f'path:pretrain_network_{part}: {type(net).__name__} has no {part}')
        model.load_network(getattr(net, part), file, True, path.get(f'param_key_{part}', 'params_ema'))


def freeze_parts(model: BaseModel, net: nn.Module) -> None:
    """Stops the training of the modules in ``train.freeze``.

    Raises:
        RefStarError: there is no such module.
    """
    modules = dict(net.named_modules())
    for name in model.opt['train'].get('freeze') or []:
        if name not in modules:
            raise RefStarError(f'train:freeze: {type(net).__name__} has no module {name!r}{nearest(name, modules)}')
        modules[name].requires_grad_(False)


def arms_of(model: BaseModel, arms: Iterable[str], sample: dict[str, Any]) -> list[str]:
    """The arms that ``val.arms`` asks for, in their order.

    Args:
        arms: all that the model has.
        sample (dict): of the data set.

    Raises:
        RefStarError: unknown arm, or the data set has no references for it.
    """
    arms = list(arms)
    wanted = model.opt['val'].get('arms') or arms
    for arm in wanted:
        if arm not in arms:
            raise RefStarError(f'val:arms: unknown arm {arm!r}{nearest(arm, arms)}')
    missing = {'right': 'refs', 'wrong': 'wrong_refs'}
    for arm in wanted:
        if arm in missing and missing[arm] not in sample:
            raise RefStarError(f'val:arms: the data set has no {missing[arm]} for the arm {arm!r}; leave it out')
    return [arm for arm in arms if arm in wanted]


def training_strength(model: BaseModel, current_iter: int) -> float:
    """Strength at this iteration."""
    return min(1.0, current_iter / max(1, model.opt['train'].get('strength_warmup', 0)))


def test_options(model: BaseModel) -> dict[str, Any]:
    """Arguments of ``RefSTAR.forward`` in tests."""
    val = model.opt.get('val') or {}
    return {
        'strength': val.get('strength', 1.0),
        'combine': val.get('combine', 'concat'),
        'guidance_scale': val.get('guidance_scale', 1.0),
        'chunk': val.get('chunk'),
    }
