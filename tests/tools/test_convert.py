"""`refstar convert`: the same weights in another file, which stands alone."""

from pathlib import Path

import pytest
import torch
import yaml
from helpers.network_files import network, options, output

from refstar.tools.convert import main
from refstar.utils.checkpoint import load_tensors, save_atomically, state_dict_of
from refstar.utils.network_file import load_network, read_network

CHECKPOINT = 'experiments/mine/models/net_g_9.pth'  # params of seed 1, params_ema of seed 2


@pytest.fixture(autouse=True)
def run_folder(tmp_path, monkeypatch) -> None:
    """A finished training in the current folder: option file and checkpoint."""
    monkeypatch.chdir(tmp_path)
    Path(CHECKPOINT).parent.mkdir(parents=True)
    Path('experiments/mine/mine.yml').write_text(yaml.safe_dump({'name': 'mine', 'network_g': options()}))
    params, ema = (network(options(), seed).state_dict() for seed in (1, 2))
    save_atomically({'params': params, 'params_ema': ema}, CHECKPOINT)


def loaded(path: str) -> torch.Tensor:
    return output(load_network(path))


def expected(seed: int) -> torch.Tensor:
    return output(network(options(), seed))


def user_error(capsys, *args: str) -> str:
    capsys.readouterr()
    assert main(list(args)) == 2
    assert not Path('x.pth').exists()
    return capsys.readouterr().err


def test_there_and_back_gives_the_same_network(capsys):
    assert main([CHECKPOINT, 'net.safetensors']) == 0 and main(['net.safetensors', 'back.pth']) == 0
    assert 'RefSTAR' in capsys.readouterr().out
    assert torch.equal(loaded('net.safetensors'), expected(2)) and torch.equal(loaded('back.pth'), expected(2))
    for key in ('params', 'params_ema'):  # as the trainer reads it, whatever param_key says
        state = state_dict_of('back.pth', key)
        assert all(torch.equal(state[name], value) for name, value in network(options(), 2).state_dict().items())


def test_flags_choose_the_weights(capsys):
    assert main([CHECKPOINT, 'plain.pth', '--param_key', 'params']) == 0
    assert torch.equal(loaded('plain.pth'), expected(1))
    assert main([CHECKPOINT, 'ema.pth', '--ema']) == 0
    assert torch.equal(loaded('ema.pth'), expected(2))
    assert "has no 'params_ema'" in user_error(capsys, 'plain.pth', 'x.pth', '--ema')
    assert 'gone.pth: no such file' in user_error(capsys, 'gone.pth', 'x.pth')
    assert main(['plain.pth', 'plain.safetensors']) == 0
    assert 'holds one set of weights' in user_error(capsys, 'plain.safetensors', 'x.pth', '--param_key', 'params')


def test_half_precision_halves_the_file(capsys):
    assert main([CHECKPOINT, 'net.safetensors', '--fp16']) == 0
    assert {value.dtype for value in load_tensors('net.safetensors')[0].values()} == {torch.float16}
    net = load_network('net.safetensors')
    assert {value.dtype for value in net.state_dict().values()} == {torch.float32}
    assert 0 < (output(net) - expected(2)).abs().max() < 0.02
    state = network(options(), 2).state_dict()
    next(iter(state.values())).fill_(1e5)
    torch.save(state, 'large.pth')
    assert 'numbers beyond 65504' in user_error(capsys, 'large.pth', 'x.pth', '--fp16')


def test_options_are_given_or_missing(capsys):
    torch.save(network(options(), 2).state_dict(), 'bare.pth')
    assert main(['bare.pth', 'bare.safetensors']) == 0
    assert 'without options' in capsys.readouterr().out
    assert read_network('bare.safetensors').options is None
    assert main(['bare.safetensors', 'net.safetensors', '--options', 'experiments/mine/mine.yml']) == 0
    assert torch.equal(loaded('net.safetensors'), expected(2))
    Path('other.yml').write_text(yaml.safe_dump(options(ref_channels=16)))
    wrong = ('bare.pth', 'x.pth', '--options', 'other.yml')
    assert 'bare.pth is a checkpoint of another network' in user_error(capsys, *wrong)
    assert main([*wrong, '--no_check']) == 0
