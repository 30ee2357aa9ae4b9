"""Models with references: weights of parts, in training and in tests."""

import copy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from shrink import replace_files, shrink
from test_shipped_options import OPTIONS, parsed

from refstar.option_file import load_options


def options(name: str, tmp_path, monkeypatch) -> dict:
    return parsed(
        shrink(replace_files(load_options(OPTIONS / 'demo' / name), tmp_path / 'files')), tmp_path, monkeypatch
    )


def saved(opt: dict, path, seed: int) -> dict[str, torch.Tensor]:
    """Writes a checkpoint of a network whose EMA differs from it; returns the EMA's state dict."""
    torch.manual_seed(seed)
    state, ema = build_network(opt).state_dict(), build_network(opt).state_dict()
    torch.save({'params': state, 'params_ema': ema}, path)
    return ema


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize('name', ['refstar.yml', 'test_backbone.yml'])
def test_parts_are_loaded_from_their_own_files(name, tmp_path, monkeypatch):
    opt = options(name, tmp_path, monkeypatch)
    net = opt['network_g']
    backbone = saved(net['backbone'], tmp_path / 'backbone.pth', 1)
    refsel = saved({'type': 'RefSel', **net['refsel']}, tmp_path / 'refsel.pth', 2)
    opt['path'].update(pretrain_network_backbone=str(tmp_path / 'backbone.pth'))
    opt['path'].update(pretrain_network_refsel=str(tmp_path / 'refsel.pth'))
    model = build_model(opt)
    for made in {model.net_g, model.net_eval}:
        assert equal(made.backbone.state_dict(), backbone)
        assert equal(made.refsel.state_dict(), refsel)


def test_a_whole_checkpoint_wins_over_parts(tmp_path, monkeypatch):
    opt = options('test_refstar.yml', tmp_path, monkeypatch)
    whole = saved(copy.deepcopy(opt['network_g']), tmp_path / 'whole.pth', 1)
    saved(opt['network_g']['backbone'], tmp_path / 'backbone.pth', 2)
    opt['path'].update(pretrain_network_g=str(tmp_path / 'whole.pth'))
    opt['path'].update(pretrain_network_backbone=str(tmp_path / 'backbone.pth'))
    assert equal(build_model(opt).net_g.state_dict(), whole)
