"""`refstar export` and `--backend onnx`: the file equals the network, for any batch and number of references."""

import re

import numpy as np
import pytest
import torch
from helpers import runs
from helpers.networks import BACKBONES, SIZE, bare, image, images, make
from helpers.restoring import hue_checker, network, network_file, picture

from refstar import RefSTAR, RefStarError, Restorer
from refstar.flow_arch import draw_noise
from refstar.restore.faces import RestoreSettings
from refstar.restore.onnx_export import Exportable, differences, equal_forms, example, export_onnx, half_precision
from refstar.restore.onnx_network import INPUTS, OUTPUTS, OnnxNetwork
from refstar.tools.bank import main as bank
from refstar.tools.export import main as export
from refstar.tools.restore import main as restore

TOLERANCE = 1e-3
SLOW_TO_EXPORT = ['CodeFormer', 'RestoreFormer', 'SwinIR', 'RRDBNet x4', 'FlowRestorer', 'FlowRestorer, latent']
OPTIONS = {'size': SIZE, 'refsel': {'size': 32, 'channels': 8}, 'ref_channels': 8, 'structure_size': 8}


@pytest.fixture(scope='module')
def onnx(exported) -> OnnxNetwork:
    return OnnxNetwork(exported / 'net.onnx')


@pytest.fixture(scope='module')
def pair(onnx) -> tuple[Restorer, Restorer]:
    """The network in torch and its file; both compare people by hue."""
    return tuple(Restorer(net, identity_checker=hue_checker()) for net in (network(), onnx))


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and (a - b).abs().max() < 1e-4


def assert_exports(net: torch.nn.Module, path) -> None:
    export_onnx(net, path)
    for batch, count, found in differences(net, path):
        assert max(found.values()) <= TOLERANCE, (batch, count, found)


# ----------------------------------------------------------------- the file
def test_command_compares_file_and_network(exported):
    text = (exported / 'printed').read_text()
    for sizes in ('1 photos, 1 references', '2 photos, 3 references'):
        assert f'{sizes}: image ' in text
    assert 'within the tolerance 0.001' in text


def test_differences_beyond_tolerance_exit_1(exported, tmp_path, monkeypatch, capsys):
    other = network_file(tmp_path, seed=1)
    monkeypatch.setattr('refstar.restore.onnx_export.export_onnx', lambda net, path, steps, fp16: None)
    assert export([str(other), '--onnx', str(exported / 'net.onnx')]) == 1
    assert 'BEYOND the tolerance' in capsys.readouterr().out


def test_export_refuses_to_overwrite_other_files(exported, tmp_path, capsys):
    net = tmp_path / 'net.onnx'  # a network's file, though its name does not say so
    net.write_bytes((exported / 'net0.safetensors').read_bytes())
    (tmp_path / 'notes.txt').write_text('kept')
    before = runs.files_under(tmp_path)
    for name, message in (('notes.txt', r'must end with \.onnx'), ('net.onnx', 'is the network itself')):
        assert export([str(net), '--onnx', str(tmp_path / name)]) == 2
        assert re.search(message, capsys.readouterr().err)
        assert runs.files_under(tmp_path) == before


def test_file_equals_the_network(onnx):
    net, lq, refs = network(), images(3, seed=1), images(3, 4, seed=2)
    valid = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    strength = torch.tensor([0.0, 0.3, 1.0])
    out, aux = onnx(lq, refs, ref_valid=valid, strength=strength, return_aux=True)
    with torch.no_grad():
        wanted, wanted_aux = net(lq, refs, valid, strength=strength, return_aux=True)
    assert close(out, wanted)
    assert all(close(aux[name], wanted_aux[name]) for name in OUTPUTS[1:])
    assert close(onnx(lq), bare(net, lq))


def test_half_precision_is_close_with_half_the_weights(exported, tmp_path):
    library = pytest.importorskip('onnx')
    half = half_precision(library.load(exported / 'net.onnx'))
    library.save(half, tmp_path / 'half.onnx')
    weights = [x for x in half.graph.initializer if len(x.dims) == 4]
    assert weights and {x.data_type for x in weights} == {library.TensorProto.FLOAT16}
    for *_, found in differences(network(), tmp_path / 'half.onnx'):
        assert 0 < found['image'] < 1e-3 and max(found.values()) < 1e-2


def test_no_path_of_this_machine_is_in_the_file(exported):
    assert b'onnx_export.py' not in (exported / 'net.onnx').read_bytes()


def test_wrong_input_is_refused(onnx, tmp_path):
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    (tmp_path / 'broken.onnx').write_bytes(b'x')
    for call, message in (
        (lambda: onnx(images(1, size=64)), r'takes \(b, 3, 32, 32\)'),
        (lambda: onnx(lq, images(2, 1)), 'refs is .2, 1, 3, 32, 32.; this network takes'),
        (lambda: onnx(lq, refs, w=0.5), 'the backbone in this ONNX file has none'),
        (lambda: OnnxNetwork(tmp_path / 'gone.onnx'), 'no such file'),
        (lambda: OnnxNetwork(tmp_path / 'broken.onnx'), r'broken\.onnx'),
        (lambda: export_onnx(network().backbone, tmp_path / 'x.onnx'), 'is no RefSTAR'),
    ):
        with pytest.raises(RefStarError, match=message):
            call()


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
            out, *_ = form(*(inputs.get(name) for name in INPUTS))
        named = {key: x for key, x in inputs.items() if key != 'w'}
        if form.has_w:  # one for all in torch
            each = [{key: x[i : i + 1] for key, x in named.items()} | {'w': w} for i, w in enumerate((0.0, 0.7))]
            after = torch.cat([image(net(**one, **form.fixed)) for one in each])
        else:
            after = image(net(**named, **form.fixed))
    assert close(out, after)


@pytest.mark.parametrize(
    'name', ['GFPGANv1Clean', *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_TO_EXPORT)]
)
def test_every_backbone_exports(name, tmp_path):
    assert_exports(make(name), tmp_path / 'net.onnx')


def test_steps_and_noise_of_a_flow(tmp_path):
    net, path = make('FlowRestorer'), tmp_path / 'net.onnx'
    export_onnx(net, path, steps=1)
    file, lq, refs = OnnxNetwork(path), images(1, seed=1), images(1, 1, seed=2)
    with torch.no_grad():
        for seed in (0, 7):
            noise = draw_noise(seed, (3, SIZE, SIZE))
            assert close(file(lq, refs, noise=noise), net(lq, refs, seed=seed, steps=1))
        assert close(file(lq, refs), net(lq, refs, steps=1))
    file.check(RestoreSettings(steps=1, seed=3))
    with pytest.raises(RefStarError, match='was written for 1 steps'):
        file.check(RestoreSettings(steps=2))


def test_steps_of_other_backbones_are_refused(tmp_path):
    with pytest.raises(RefStarError, match='RRDBNet takes no steps'):
        export_onnx(make('RRDBNet'), tmp_path / 'net.onnx', steps=2)


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
    assert_exports(net, tmp_path / 'net.onnx')


@pytest.mark.slow
def test_backbone_with_a_fixed_batch_is_refused(tmp_path, monkeypatch):
    rrdbnet = make('RRDBNet')
    forward = rrdbnet.backbone.forward
    monkeypatch.setattr(rrdbnet.backbone, 'forward', lambda x: forward(x) * len(x) / len(x))
    with pytest.raises(RefStarError, match=r'RRDBNet (does not keep these sizes open: lq|cannot be exported)'):
        export_onnx(rrdbnet, tmp_path / 'net.onnx')
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------- restoring by it
@pytest.mark.parametrize('strength', [1.0, 0.4, 0.0])
def test_result_equals_torch(pair, strength):
    """Faces of one, two and no references as one batch."""
    settings, results = RestoreSettings(strength=strength), []
    for restorer in pair:
        people = restorer.people([picture(1, hue=0), picture(2, hue=0), picture(3, hue=1)])
        faces = [restorer.face(picture(9, hue=hue)) for hue in (1, 0, 2)]
        results.append(restorer.restore(restorer.prepare(faces, people, settings), settings))
    for a, b in zip(*results, strict=True):
        assert np.abs(a.image.astype(int) - b.image).max() <= 1
        assert np.allclose(a.mask, b.mask, atol=1e-3) and np.allclose(a.attribution, b.attribution, atol=1e-3)
    assert [face.mask.shape for face in results[1]] == [(count, SIZE, SIZE) for count in (1, 2, 0)]


@pytest.mark.parametrize(
    ('network', 'more', 'message'),
    [
        ('net0.safetensors', ['--backend', 'onnx'], 'refstar export'),
        ('net.onnx', ['--backend', 'torch'], 'runs by the backend onnx'),
        ('net.onnx', ['--bf16'], 'refstar export --fp16'),
        ('net.onnx', ['--provider', 'coremll'], "no provider 'coremll', but "),
        ('net.onnx', ['--provider', 'cpu,'], "no provider '', but "),
        ('net0.safetensors', ['--provider', 'cpu'], 'runs in torch'),
        ('net.onnx', ['--use', 'eyes'], 'take the network in torch'),
        ('net.onnx', ['--fidelity', '0.5'], 'CodeFormer has'),
        ('net.onnx', ['--steps', '4'], 'FlowRestorer has'),
        ('net.onnx', ['--ref_mask_dir', '.'], 'take the network in torch'),
    ],
)
def test_what_onnx_cannot_do_is_refused(exported, tmp_path, capsys, network, more, message):
    inputs = ['-i', str(exported / 'lq.png'), '-r', str(exported / 'alice'), '--aligned', '-o', str(tmp_path)]
    assert restore([*inputs, '-n', str(exported / network), *more]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_banks_need_torch(exported, tmp_path, capsys):
    build = ['build', exported / 'alice', '--aligned', '-n', exported / 'net.onnx', '-o', tmp_path / 'a.refbank']
    assert bank([str(arg) for arg in build]) == 2
    assert 'not its ONNX file' in capsys.readouterr().err
