"""`refstar export`: the file equals the network, for any batch and number of references."""

import re
from pathlib import Path

import pytest
import torch
from helpers import runs
from helpers.networks import BACKBONES, SIZE, bare, image, images, make, run

from refstar import RefSTAR, RefStarError
from refstar.restore.onnx_export import Exportable, differences, equal_forms, example, export_onnx
from refstar.restore.onnx_network import OUTPUTS, OnnxNetwork
from refstar.tools.export import main
from refstar.utils.network_file import save_network

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


TOLERANCE = 1e-3


OPTIONS = {'size': SIZE, 'refsel': {'size': 32, 'channels': 8}, 'ref_channels': 8, 'structure_size': 8}


@pytest.fixture(scope='module')
def rrdbnet() -> RefSTAR:
    return make('RRDBNet')


@pytest.fixture(scope='module')
def folder(rrdbnet, tmp_path_factory) -> Path:
    """Folder with the network as net.safetensors, exported by the command to net.onnx, and what the command printed."""
    folder = tmp_path_factory.mktemp('export')
    options = {'type': 'RefSTAR', 'backbone': BACKBONES['RRDBNet'], **OPTIONS}
    save_network(rrdbnet, folder / 'net.safetensors', options)
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr('builtins.print', lambda *text, **_: lines.append(' '.join(map(str, text))))
        assert main([str(folder / 'net.safetensors'), '--onnx', str(folder / 'net.onnx')]) == 0
    (folder / 'printed').write_text('\n'.join(lines))
    return folder


@pytest.fixture(scope='module')
def onnx(folder) -> OnnxNetwork:
    return OnnxNetwork(folder / 'net.onnx')


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and (a - b).abs().max() < 1e-4


def test_command_compares_file_and_network(folder):
    text = (folder / 'printed').read_text()
    for sizes in (
        '1 photos, 1 references',
        '1 photos, 3 references',
        '2 photos, 1 references',
        '2 photos, 3 references',
    ):
        assert f'{sizes}: image ' in text
    assert 'within the tolerance 0.001' in text


def test_differences_beyond_tolerance_exit_1(folder, monkeypatch, capsys):
    """Exit code 1 when file and network differ: here by the weights, the file is that of the fixture."""
    other = make('RRDBNet')
    with torch.no_grad():
        other.backbone.conv_last.bias += 0.01
    options = {'type': 'RefSTAR', 'backbone': BACKBONES['RRDBNet'], **OPTIONS}
    save_network(other, folder / 'other.safetensors', options)
    monkeypatch.setattr('refstar.restore.onnx_export.export_onnx', lambda net, path: None)
    assert main([str(folder / 'other.safetensors'), '--onnx', str(folder / 'net.onnx')]) == 1
    assert 'BEYOND the tolerance' in capsys.readouterr().out
    assert main([str(folder / 'other.safetensors'), '--onnx', str(folder / 'net.onnx'), '--tolerance', '0.1']) == 0


def test_export_refuses_to_overwrite_other_files(folder, tmp_path, capsys):
    net = tmp_path / 'net.onnx'  # a network's file, though its name does not say so
    net.write_bytes((folder / 'net.safetensors').read_bytes())
    (tmp_path / 'notes.txt').write_text('kept')
    (tmp_path / 'link.onnx').symlink_to(net)
    for name, message in [
        ('notes.txt', r'notes\.txt: the name of the file to write must end with \.onnx'),
        ('net.onnx', r'net\.onnx: is the network itself and would be overwritten'),
        ('link.onnx', r'link\.onnx: is the network itself and would be overwritten'),
    ]:
        before = runs.files_under(tmp_path)
        assert main([str(net), '--onnx', str(tmp_path / name)]) == 2
        assert re.search(message, capsys.readouterr().err)
        assert runs.files_under(tmp_path) == before


def test_file_equals_the_network(rrdbnet, onnx):
    lq, refs = images(3, seed=1), images(3, 4, seed=2)
    valid = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    strength = torch.tensor([0.0, 0.3, 1.0])
    out, aux = onnx(lq, refs, ref_valid=valid, strength=strength, return_aux=True)
    with torch.no_grad():
        wanted, wanted_aux = rrdbnet(lq, refs, valid, strength=strength, return_aux=True)
    assert close(out, wanted)
    assert all(close(aux[name], wanted_aux[name]) for name in OUTPUTS[1:])
    assert close(onnx(lq, refs), run(rrdbnet, lq, refs))
    assert close(onnx(lq), bare(rrdbnet, lq))


def test_wrong_input_is_refused(rrdbnet, onnx, tmp_path):
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    with pytest.raises(RefStarError, match='takes 32x32'):
        onnx(images(1, size=64))
    with pytest.raises(RefStarError, match='references of 2 people for 1 photos'):
        onnx(lq, images(2, 1))
    with pytest.raises(RefStarError, match='the backbone in this ONNX file has none'):
        onnx(lq, refs, w=0.5)
    with pytest.raises(RefStarError, match='no such file'):
        OnnxNetwork(tmp_path / 'gone.onnx')
    (tmp_path / 'broken.onnx').write_bytes(b'x')
    with pytest.raises(RefStarError, match=r'broken\.onnx cannot be read'):
        OnnxNetwork(tmp_path / 'broken.onnx')
    with pytest.raises(RefStarError, match='is no RefSTAR'):
        export_onnx(rrdbnet.backbone, tmp_path / 'x.onnx')


@pytest.mark.parametrize('name', list(BACKBONES))
def test_exported_forms_equal_the_original(name):
    """What replaces parts of a backbone while a file is written computes the same, and is gone afterwards."""
    net = make(name)
    form = Exportable(net)
    inputs = example(form, 2, 2, seed=3)
    if form.has_w:
        inputs['w'] = torch.tensor([0.0, 0.7])
    with torch.no_grad():
        with equal_forms(net):
            out, *_ = form(*inputs.values())
        named = {key: inputs[key] for key in ('lq', 'refs', 'ref_valid', 'strength')}
        if form.has_w:  # one for all in torch
            each = [{key: x[i : i + 1] for key, x in named.items()} | {'w': w} for i, w in enumerate((0.0, 0.7))]
            after = torch.cat([image(net(**one, **form.fixed)) for one in each])
        else:
            after = image(net(**named, **form.fixed))
    assert close(out, after)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['GFPGANv1Clean', 'CodeFormer', 'RestoreFormer', 'SwinIR'])
def test_every_backbone_exports(name, tmp_path):
    net = make(name)
    export_onnx(net, tmp_path / 'net.onnx')
    for batch, count, found in differences(net, tmp_path / 'net.onnx'):
        assert max(found.values()) <= TOLERANCE, (batch, count, found)


@pytest.mark.slow
def test_person_check_and_context_export(identity_weights, tmp_path):
    face = {'network': 'mobilefacenet', 'weights': identity_weights}
    torch.manual_seed(0)
    options = {**OPTIONS, 'refsel': {'size': 32, 'channels': 8, 'person': face}}
    net = RefSTAR({**BACKBONES['GFPGANBilinear']}, **options, context={'dim': 16, 'grid': 2, 'identity': face}).eval()
    with torch.no_grad():
        net.refsel.person.shift.fill_(0)  # undecided: the verdict counts
        for inject in net.inject:
            inject.out.weight.normal_(std=0.05)
    export_onnx(net, tmp_path / 'net.onnx')
    for batch, count, found in differences(net, tmp_path / 'net.onnx'):
        assert max(found.values()) <= TOLERANCE, (batch, count, found)


@pytest.mark.slow
def test_backbone_with_a_fixed_batch_is_refused(rrdbnet, tmp_path, monkeypatch):
    forward = rrdbnet.backbone.forward
    monkeypatch.setattr(rrdbnet.backbone, 'forward', lambda x: forward(x) * len(x) / len(x))
    with pytest.raises(RefStarError, match=r'RRDBNet (does not keep these sizes open: lq|cannot be exported)'):
        export_onnx(rrdbnet, tmp_path / 'net.onnx')
    assert not list(tmp_path.iterdir())
