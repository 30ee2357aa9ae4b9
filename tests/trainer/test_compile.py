"""`train.compile` on a RefSTAR: what takes in references by hooks is refused, the rest is compiled."""

from types import SimpleNamespace

import pytest
from helpers import networks

from refstar.trainer import speed
from refstar.utils.errors import RefStarError


def compiled(name: str) -> SimpleNamespace:
    """A model whose network has been laid out with this module compiled."""
    opt = {'train': {'compile': [name], 'compile_kwargs': {'backend': 'eager'}}}
    model = SimpleNamespace(net_g=networks.make('RRDBNet'), opt=opt, get_bare_model=lambda net: net)
    speed.apply(model)
    return model


def test_modules_that_get_references_by_hooks_are_refused() -> None:
    tap = next(iter(networks.make('RRDBNet').taps))
    for name in ('g.backbone', f'g.backbone.{tap}'):
        with pytest.raises(RefStarError, match=f'train:compile: {name} gets its references by hooks'):
            compiled(name)


def test_others_are_compiled() -> None:
    for name in ('g.refsel', 'g.backbone.conv_last'):
        module = compiled(name).net_g.get_submodule(name.removeprefix('g.'))
        assert module._compiled_call_impl is not None
