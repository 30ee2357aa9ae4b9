"""A network in one file: it comes back the same, from that file alone, and nothing in a file is executed."""

import json
import os
import pickle
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from helpers.network_files import network, options, output

from refstar import RefStarError
from refstar.utils.checkpoint import FROZEN, load_tensors, save_atomically, save_tensors, sha256, state_dict_of
from refstar.utils.network_file import build, load_network, read_network, save_network
from refstar.utils.onnx_session import open_session


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_one_file_rebuilds_the_network(tmp_path, identity_weights, suffix):
    own = Path(shutil.copy(identity_weights, tmp_path / 'my net.pth'))
    net = network(options(str(own)))
    save_network(net, tmp_path / f'net{suffix}', options(str(own)))
    own.unlink()
    loaded = load_network(tmp_path / f'net{suffix}')
    assert not loaded.training
    assert torch.equal(output(net), output(loaded))
    assert net.fingerprint() == loaded.fingerprint(), 'reference banks must go on fitting'
    file = read_network(tmp_path / f'net{suffix}')
    assert file.options['refsel']['person']['weights'].endswith('_my net.pth'), 'no path of the maker in it'
    save_network(file, tmp_path / 'again.safetensors')
    assert torch.equal(output(net), output(load_network(tmp_path / 'again.safetensors')))


def test_identity_networks_may_stay_outside(tmp_path, identity_weights):
    folder = tmp_path / 'made'
    folder.mkdir()
    beside = Path(shutil.copy(identity_weights, folder / 'face.pth'))
    net = network(options(str(beside)))
    save_network(net, folder / 'net.safetensors', options(str(beside)), embed_frozen=False)
    assert (folder / 'net.safetensors').stat().st_size < Path(identity_weights).stat().st_size + 5e6
    shutil.move(folder, moved := tmp_path / 'moved')
    assert torch.equal(output(net), output(load_network(moved / 'net.safetensors'))), 'found beside it'
    (moved / 'face.pth').write_bytes(b'another')
    with pytest.raises(RefStarError, match=r'was made with another face\.pth'):
        load_network(moved / 'net.safetensors')
    (moved / 'face.pth').unlink()
    with pytest.raises(RefStarError, match=r'needs .*, which is not there'):
        load_network(moved / 'net.safetensors')


def test_options_come_from_the_experiment(tmp_path):
    net, ema = network(options()), network(options(), 2)
    path = tmp_path / 'experiments/mine/models/net_g_latest.pth'
    path.parent.mkdir(parents=True)
    save_atomically({'params': net.state_dict(), 'params_ema': ema.state_dict()}, path)
    with pytest.raises(RefStarError, match='does not say what network it is: give its option file'):
        load_network(path)
    option_file = path.parents[1] / 'train.yml'
    option_file.write_text(yaml.safe_dump({'name': 'mine', 'network_g': options()}))
    for loaded in (load_network(path), load_network(path, options=options()), load_network(path, options=option_file)):
        assert torch.equal(output(loaded), output(ema))
    assert torch.equal(output(build(read_network(path, param_key='params'), path)), output(net))
    with pytest.raises(RefStarError, match='has no block network_d'):
        load_network(shutil.copy(path, path.with_name('net_d_latest.pth')), options=option_file)
    shutil.copy(option_file, option_file.with_name('other.yml'))
    with pytest.raises(RefStarError, match='several option files'):
        load_network(path)


def test_the_trainer_reads_safetensors(tmp_path, identity_weights):
    """Embedded files are no part of the state dict, whatever param_key says."""
    net = network(options(identity_weights))
    save_network(net, tmp_path / 'net.safetensors', options(identity_weights))
    assert any(name.startswith(FROZEN) for name in load_tensors(tmp_path / 'net.safetensors')[0])
    for key in ('params', 'params_ema', None):
        assert state_dict_of(tmp_path / 'net.safetensors', key).keys() == net.state_dict().keys()


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


@pytest.mark.parametrize(
    ('content', 'what'),
    [
        (b'<!DOCTYPE html><html>404</html>', 'is a web page'),
        (b'\n<html>404', 'is a web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n', 'is a Git LFS pointer'),
        (b'{"message": "Not Found"}', 'is a text'),
        (b'', 'is empty'),
    ],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.onnx'])
def test_what_is_no_network_is_called_by_its_name(tmp_path, content, what, suffix):
    path = tmp_path / f'net{suffix}'
    path.write_bytes(content)
    read = partial(open_session, what='restoring') if suffix == '.onnx' else load_network
    with pytest.raises(RefStarError, match=rf'net\{suffix}:? {what}') as error:
        read(path)
    assert 'weights_only' not in str(error.value) and '\n' not in str(error.value)


def note(block: dict, frozen: dict[str, str] = {}, version: int = 1) -> dict[str, str]:  # noqa: B006
    return {'refstar': json.dumps({'version': version, 'network': block, 'frozen': frozen})}


def test_embedded_programs_are_refused(tmp_path, identity_weights):
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
        (note(options(), {'a': '../../x'}), 'are broken'),
        (note(options(), version=2), 'this program reads 1'),
        (note({'type': 'NoSuchNet'}), "cannot be built here: .*'NoSuchNet'"),
        (note(options(surprise=1)), 'cannot be built here: .*surprise'),
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


def test_cut_and_changed_files_are_refused(tmp_path, identity_weights):
    path = tmp_path / 'net.safetensors'
    save_network(network(options(identity_weights)), path, options(identity_weights))
    whole = path.read_bytes()
    for cut in (0, 100, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(RefStarError, match=r'net\.safetensors'):
            load_network(path)
    path.write_bytes(whole)
    tensors, metadata = load_tensors(path)
    embedded = next(name for name in tensors if name.startswith(FROZEN))
    save_tensors({**tensors, embedded: tensors[embedded].flip(0)}, metadata, path)
    with pytest.raises(RefStarError, match='was made with another'):
        load_network(path)


@pytest.mark.parametrize(
    ('name', 'more', 'message'),
    [
        ('net.bin', {}, 'written to a file'),
        ('no/net.safetensors', {}, 'cannot write'),
        ('net.safetensors', {'taps': {1}}, 'no plain values'),
        ('net.safetensors', {'weights': 'gone.pth'}, r'gone\.pth: no such file'),
    ],
)
def test_a_refused_save_leaves_no_file(tmp_path, name, more, message):
    with pytest.raises(RefStarError, match=message):
        save_network(network(options()), tmp_path / name, options(**more))
    assert list(tmp_path.iterdir()) == []


def test_an_option_of_version_0_1_is_dropped(tmp_path):
    save_tensors({'a': torch.zeros(1)}, note(options(mix='selection')), tmp_path / 'net.safetensors')
    assert read_network(tmp_path / 'net.safetensors').options == options()
