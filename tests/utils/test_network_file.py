"""A network in one file: it comes back the same, from that file alone, and nothing in a file is executed."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network
from helpers.networks import BACKBONES, SIZE, images, run

from refstar import RefStarError
from refstar.utils.checkpoint import FROZEN, load_tensors, save_atomically, save_tensors, sha256, state_dict_of
from refstar.utils.network_file import build, load_network, read_network, save_network, write_network


def options(weights: str | None = None, **more) -> dict:
    refsel = {'size': 32, 'channels': 8}
    if weights:
        refsel['person'] = {'network': 'mobilefacenet', 'weights': weights}
    return {
        'type': 'RefSTAR',
        'size': SIZE,
        'backbone': BACKBONES['RRDBNet'],
        'ref_channels': 8,
        'refsel': refsel,
        **more,
    }


def made(block: dict) -> torch.nn.Module:
    torch.manual_seed(1)
    return build_network(block).eval()


def outputs(net: torch.nn.Module) -> torch.Tensor:
    return run(net, images(1, seed=1), images(1, 2, seed=2))


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_one_file_rebuilds_the_network(tmp_path, identity_weights, suffix):
    own = Path(shutil.copy(identity_weights, tmp_path / 'my net.pth'))
    net = made(options(str(own)))
    save_network(net, tmp_path / f'net{suffix}', options(str(own)))
    own.unlink()
    loaded = load_network(tmp_path / f'net{suffix}')
    assert not loaded.training
    assert torch.equal(outputs(net), outputs(loaded))
    assert net.fingerprint() == loaded.fingerprint(), 'reference banks must go on fitting'
    file = read_network(tmp_path / f'net{suffix}')
    assert file.options['refsel']['person']['weights'].endswith('_my net.pth'), 'no path of the maker in it'
    write_network(file, tmp_path / 'again.safetensors')
    assert torch.equal(outputs(net), outputs(load_network(tmp_path / 'again.safetensors')))


def test_frozen_files_may_stay_outside(tmp_path, identity_weights):
    beside = shutil.copy(identity_weights, tmp_path / 'face.pth')
    net = made(options(str(beside)))
    save_network(net, tmp_path / 'net.safetensors', options(str(beside)), embed_frozen=False)
    assert (tmp_path / 'net.safetensors').stat().st_size < Path(identity_weights).stat().st_size + 5e6
    assert torch.equal(outputs(net), outputs(load_network(tmp_path / 'net.safetensors')))
    content = Path(beside).read_bytes()
    Path(beside).write_bytes(b'another')
    with pytest.raises(RefStarError, match='is another file than the network was made with'):
        write_network(read_network(tmp_path / 'net.safetensors'), tmp_path / 'embedded.safetensors')
    Path(beside).write_bytes(content)
    shutil.move(tmp_path, moved := tmp_path.with_name(f'{tmp_path.name}_moved'))
    assert torch.equal(outputs(net), outputs(load_network(moved / 'net.safetensors'))), 'found beside it'
    state = torch.load(moved / 'face.pth')
    torch.save({key: value + 1 for key, value in state.items()}, moved / 'face.pth')
    with pytest.raises(RefStarError, match=r'was made with another face\.pth'):
        load_network(moved / 'net.safetensors')
    (moved / 'face.pth').unlink()
    with pytest.raises(RefStarError, match=r'needs .*, which is not there'):
        load_network(moved / 'net.safetensors')


def test_checkpoint_of_an_experiment(tmp_path):
    net, ema = made(options()), made(options())
    for p in ema.parameters():
        p.data.mul_(0.9)
    models = tmp_path / 'experiments' / 'mine' / 'models'
    models.mkdir(parents=True)
    path = models / 'net_g_latest.pth'
    save_atomically({'params': net.state_dict(), 'params_ema': ema.state_dict()}, path)
    with pytest.raises(RefStarError, match='does not say what network it is: give its option file'):
        load_network(path)
    option_file = models.parent / 'train.yml'
    option_file.write_text(yaml.safe_dump({'name': 'mine', 'network_g': options()}))
    assert torch.equal(outputs(load_network(path)), outputs(ema))
    assert torch.equal(outputs(load_network(path, options=options())), outputs(ema))
    plain = build(read_network(path, param_key='params'), path)
    assert torch.equal(outputs(plain), outputs(net))
    shutil.copy(option_file, models.parent / 'other.yml')
    with pytest.raises(RefStarError, match='several option files'):
        load_network(path)
    assert torch.equal(outputs(load_network(path, options=option_file)), outputs(ema))
    with pytest.raises(RefStarError, match='has no block network_d'):
        load_network(shutil.copy(path, models / 'net_d_latest.pth'), options=option_file)


def test_the_trainer_reads_safetensors(tmp_path, identity_weights):
    """`path: pretrain_network_*` with any param_key: what travels along is no part of the state dict."""
    net = made(options(identity_weights))
    save_network(net, tmp_path / 'net.safetensors', options(identity_weights))
    assert any(name.startswith(FROZEN) for name in load_tensors(tmp_path / 'net.safetensors')[0])
    for key in ('params', 'params_ema', None):
        state = state_dict_of(tmp_path / 'net.safetensors', key)
        assert state.keys() == net.state_dict().keys()


class Evil:
    def __reduce__(self):
        return os.mkdir, ('evil',)


def test_pickles_that_run_code_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (Evil(), {'params': Evil()}, {'params': {'a': torch.zeros(1)}, 'refstar': Evil()}):
        torch.save(content, 'net.pth')
        with pytest.raises(RefStarError, match=r'net\.pth: holds Python objects'):
            load_network('net.pth', options=options())
    Path('net.safetensors').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RefStarError, match='is broken'):
        load_network('net.safetensors')
    assert not Path('evil').exists()


def note(block: dict, frozen: dict[str, str] = {}, version: int = 1) -> dict[str, str]:  # noqa: B006
    return {'refstar': json.dumps({'version': version, 'network': block, 'frozen': frozen})}


def test_programs_do_not_travel(tmp_path, identity_weights):
    """TorchScript and ONNX files are programs: a network file never brings one along."""
    block = options(context={'dim': 16, 'identity': {'network': 'torchscript', 'weights': 'face.pth'}})
    digest = sha256(identity_weights)
    data = torch.frombuffer(bytearray(Path(identity_weights).read_bytes()), dtype=torch.uint8)
    save_tensors({f'{FROZEN}{digest}': data}, note(block, {'face.pth': digest}), tmp_path / 'net.safetensors')
    with pytest.raises(RefStarError, match='carries a program'):
        load_network(tmp_path / 'net.safetensors')


@pytest.mark.parametrize(
    ('metadata', 'message'),
    [
        ({}, 'does not say what network it is'),
        ({'refstar': '{'}, 'are broken'),
        ({'refstar': '[]'}, 'are broken'),
        (note({'type': 7}), 'are broken'),
        (note(options(), {'a': '../../x'}), 'are broken'),
        (note(options(), version=2), 'this program reads 1'),
        (note({'type': 'NoSuchNet'}), "cannot be built here: No object named 'NoSuchNet'"),
        (note({'type': 'RefSTAR', 'size': 32}), 'cannot be built here: .*backbone'),
        (note(options(surprise=1)), 'cannot be built here: .*surprise'),
        (note(options(value_range=[0, 0])), 'value_range is'),
        (note(options()), 'checkpoint of another network'),
        (note(options('gone.pth'), {'gone.pth': '0' * 64}), r'needs gone\.pth'),
    ],
)
def test_broken_files_are_named(tmp_path, metadata, message):
    path = tmp_path / 'net.safetensors'
    save_tensors({'a': torch.zeros(1)}, metadata, path)
    with pytest.raises(RefStarError, match=message) as error:
        load_network(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_cut_and_changed_files(tmp_path, identity_weights):
    path = tmp_path / 'net.safetensors'
    save_network(made(options(identity_weights)), path, options(identity_weights))
    whole = path.read_bytes()
    for cut in (0, 4, 100, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(RefStarError, match=r'net\.safetensors'):
            load_network(path)
    with pytest.raises(RefStarError, match='no such file'):
        load_network(tmp_path / 'other.safetensors')
    path.write_bytes(whole)
    tensors, metadata = load_tensors(path)
    embedded = next(name for name in tensors if name.startswith(FROZEN))
    save_tensors({**tensors, embedded: tensors[embedded].flip(0)}, metadata, path)
    with pytest.raises(RefStarError, match='was made with another'):
        load_network(path)


def test_what_cannot_be_written(tmp_path):
    net = made(options())
    with pytest.raises(RefStarError, match='written to a file'):
        save_network(net, tmp_path / 'net.bin', options())
    with pytest.raises(RefStarError, match='cannot write'):
        save_network(net, tmp_path / 'no' / 'net.safetensors', options())
    with pytest.raises(RefStarError, match='no plain values'):
        save_network(net, tmp_path / 'net.safetensors', options(taps={1}))
    with pytest.raises(RefStarError, match=r'gone\.pth: no such file'):
        save_network(net, tmp_path / 'net.safetensors', options('gone.pth'))
    assert list(tmp_path.iterdir()) == []
