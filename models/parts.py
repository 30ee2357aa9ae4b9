"""What is done with the parts of a RefSTAR network before training or a test, whatever the model: loading, freezing,
and the options of a test. Used by the models here and by the mixin for existing ones."""

from typing import Any

from basicsr.models.base_model import BaseModel

KEYS = {
    'path.pretrain_network_backbone': 'weights of the bare backbone, loaded into net_g.backbone',
    'path.param_key_backbone': "key in that file (default 'params_ema'; ~ for a bare state dict)",
    'path.pretrain_network_refsel': 'weights of a trained RefSel, loaded into net_g.refsel',
    'path.param_key_refsel': "key in that file (default 'params_ema')",
    'train.freeze': 'list of module names of net_g whose weights stay as they are, e.g. [backbone, refsel]',
    'val.arms': 'arms to run, out of right, none, wrong (default: all)',
}
STRENGTH_KEYS = {
    'train.strength_warmup': 'iterations over which strength grows from 0 to 1 (default 0: 1 from the start)',
    'val.strength': 'strength in tests (default 1)',
    'val.combine': "how several references meet in tests: 'concat' (default) or 'guidance'",
    'val.guidance_scale': 'factor on the mean change in guidance (default 1)',
    'val.chunk': 'how many references are encoded at a time in tests (default: all)',
}


def load_parts(model: BaseModel) -> None:
    """Loads the weights of parts of net_g that are given apart; a full ``pretrain_network_g`` (resume) wins."""
    path = model.opt['path']
    if path.get('pretrain_network_g'):
        return
    net = model.get_bare_model(model.net_g)
    for part in ('backbone', 'refsel'):
        if path.get(f'pretrain_network_{part}'):
            key = path.get(f'param_key_{part}', 'params_ema')
            model.load_network(net.get_submodule(part), path[f'pretrain_network_{part}'], True, key)


def freeze_parts(model: BaseModel) -> None:
    """Stops the training of the modules in ``train.freeze``."""
    net = model.get_bare_model(model.net_g)
    for name in model.opt['train'].get('freeze') or []:
        net.get_submodule(name).requires_grad_(False)


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
