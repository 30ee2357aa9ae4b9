"""`refstar convert`: the same weights in another file, which stands alone."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network
from helpers.networks import BACKBONES, SIZE, images, run

from refstar.tools.convert import main
from refstar.utils.checkpoint import load_tensors, save_atomically, state_dict_of
from refstar.utils.network_file import load_network, read_network


def options() -> dict:
    return {'type': 'RefSTAR', 'size': SIZE, 'backbone': BACKBONES['RRDBNet'], 'refsel': {'size': 32, 'channels': 8}}


def made(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network(options()).eval()


def outputs(net: torch.nn.Module) -> torch.Tensor:
    return run(net, images(1, seed=1), images(1, 2, seed=2))


@pytest.fixture
def run_folder(tmp_path, monkeypatch) -> Path:
    """A finished training: current folder, `experiments/mine` with option file and checkpoint."""
    monkeypatch.chdir(tmp_path)
    models = tmp_path / 'experiments' / 'mine' / 'models'
    models.mkdir(parents=True)
    (models.parent / 'mine.yml').write_text(yaml.safe_dump({'name': 'mine', 'network_g': options()}))
    save_atomically({'params': made(1).state_dict(), 'params_ema': made(2).state_dict()}, models / 'net_g_9.pth')
    return tmp_path


CHECKPOINT = 'experiments/mine/models/net_g_9.pth'


def user_error(capsys, *args: str) -> str:
    assert main(list(args)) == 2
    return capsys.readouterr().err


def test_there_and_back(run_folder, capsys):
    assert main([CHECKPOINT, 'net.safetensors']) == 0
    assert 'RefSTAR' in capsys.readouterr().out
    assert main(['net.safetensors', 'back.pth']) == 0
    ema = made(2)
    for path in ('net.safetensors', 'back.pth'):
        assert torch.equal(outputs(load_network(path)), outputs(ema))
    for key in ('params', 'params_ema'):  # as the trainer reads it, whatever param_key says
        state = state_dict_of('back.pth', key)
        assert all(torch.equal(state[name], value) for name, value in ema.state_dict().items())


def test_which_weights(run_folder, capsys):
    assert main([CHECKPOINT, 'plain.pth', '--param_key', 'params']) == 0
    assert torch.equal(outputs(load_network('plain.pth')), outputs(made(1)))
    assert main([CHECKPOINT, 'ema.pth', '--ema']) == 0
    assert torch.equal(outputs(load_network('ema.pth')), outputs(made(2)))
    capsys.readouterr()
    assert "has no 'params_ema'" in user_error(capsys, 'plain.pth', 'x.pth', '--ema')
    main(['plain.pth', 'plain.safetensors'])
    capsys.readouterr()
    assert 'holds one set of weights' in user_error(capsys, 'plain.safetensors', 'x.pth', '--param_key', 'params')
    assert not Path('x.pth').exists()


def test_half(run_folder, capsys):
    assert main([CHECKPOINT, 'net.safetensors', '--fp16']) == 0
    state, _ = load_tensors('net.safetensors')
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert Path('net.safetensors').stat().st_size < 0.4 * Path(CHECKPOINT).stat().st_size
    net = load_network('net.safetensors')
    assert {value.dtype for value in net.state_dict().values()} == {torch.float32}
    assert 0 < (outputs(net) - outputs(made(2))).abs().max() < 0.02
    state = made(2).state_dict()
    next(iter(state.values())).fill_(1e5)
    torch.save(state, 'large.pth')
    assert 'numbers beyond 65504' in user_error(capsys, 'large.pth', 'x.pth', '--fp16')


def test_options(run_folder, capsys):
    torch.save(made(2).state_dict(), 'bare.pth')
    assert main(['bare.pth', 'bare.safetensors']) == 0
    assert 'without options' in capsys.readouterr().out
    assert read_network('bare.safetensors').options is None
    assert main(['bare.safetensors', 'net.safetensors', '--options', 'experiments/mine/mine.yml']) == 0
    assert torch.equal(outputs(load_network('net.safetensors')), outputs(made(2)))
    metadata = json.loads(load_tensors('net.safetensors')[1]['refstar'])
    assert metadata['network']['backbone'] == BACKBONES['RRDBNet']

    Path('other.yml').write_text(yaml.safe_dump({**options(), 'ref_channels': 8}))
    message = user_error(capsys, 'bare.pth', 'x.pth', '--options', 'other.yml')
    assert 'bare.pth is a checkpoint of another network' in message
    assert main(['bare.pth', 'x.pth', '--options', 'other.yml', '--no_check']) == 0


def test_broken_input(run_folder, capsys):
    Path('cut.pth').write_bytes(Path(CHECKPOINT).read_bytes()[:1000])
    assert 'cut.pth: cannot be read, the file is broken' in user_error(capsys, 'cut.pth', 'x.pth')
    assert 'gone.pth: no such file' in user_error(capsys, 'gone.pth', 'x.pth')
    assert 'written to a file .safetensors or .pth' in user_error(capsys, CHECKPOINT, 'x.onnx')
    assert not Path('x.pth').exists()
