"""Arms of an evaluation (right, none, wrong references), and the strength of references in training and tests."""

from collections.abc import Iterable
from typing import Any

from basicsr.models.base_model import BaseModel
from pydantic import Field
from torch import nn

from refstar.utils.errors import RefStarError, nearest
from refstar.utils.option_block import IterationsFrom0, OptionBlock


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


def check_scale(opt: dict[str, Any], net: nn.Module) -> None:
    """Raise RefStarError if the option ``scale``, by which the data are made (default: 1), is not the network's."""
    if (opt.get('scale') or 1) != net.scale:
        what = f'enlarges {net.scale} times' if net.scale > 1 else 'keeps the size'
        raise RefStarError(f'scale: {opt.get("scale")}, but the backbone of network_g {what}; write scale: {net.scale}')


def selected_arms(model: BaseModel, arms: Iterable[str], sample: dict[str, Any]) -> list[str]:
    """Select those of the model's arms that ``val.arms`` names, for data like ``sample``.

    Raises:
        RefStarError: unknown arm, or the dataset has no references for it.
    """
    arms, needs = list(arms), {'right': 'refs', 'wrong': 'wrong_refs'}
    wanted = model.opt['val'].get('arms') or arms
    for arm in wanted:
        if arm not in arms:
            raise RefStarError(f'val:arms: unknown arm {arm!r}{nearest(arm, arms)}')
        if arm in needs and needs[arm] not in sample:
            raise RefStarError(f'val:arms: the data set has no {needs[arm]} for the arm {arm!r}; leave it out')
    return [arm for arm in arms if arm in wanted]


def training_strength(model: BaseModel, current_iter: int) -> float:
    """Compute the strength at this iteration, in [0, 1]."""
    return min(1.0, current_iter / max(1, model.opt['train'].get('strength_warmup', 0)))


def test_settings(model: BaseModel) -> dict[str, Any]:
    """Collect the arguments of ``RefSTAR.forward`` for tests."""
    settings = {'strength': 1.0, 'combine': 'concat', 'guidance_scale': 1.0, 'chunk': None}
    val = model.opt.get('val') or {}
    return {key: val.get(key, default) for key, default in settings.items()}
