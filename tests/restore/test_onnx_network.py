"""`refstar restore --backend onnx`: an exported network restores as the network itself."""

import numpy as np
import pytest
from helpers.restoring import SIZE, hue_checker, network, picture, save

from refstar import RefStarError, Restorer
from refstar.restore.faces import RestoreSettings
from refstar.restore.onnx_network import OnnxNetwork
from refstar.tools.bank import main as bank
from refstar.tools.restore import main


@pytest.fixture(scope='module')
def pair(exported) -> tuple[Restorer, Restorer]:
    return Restorer(network()), Restorer.from_pretrained(exported / 'net.onnx')


@pytest.mark.parametrize('refs', [(), (1,), (1, 2)])
@pytest.mark.parametrize('strength', [1.0, 0.4, 0.0])
def test_result_equals_torch(pair, refs, strength):
    torch_, onnx = (one(picture(0), [picture(i) for i in refs], strength) for one in pair)
    assert np.abs(torch_.image.astype(int) - onnx.image).max() <= 1
    assert [c.reference.name for c in torch_.chosen] == [c.reference.name for c in onnx.chosen]
    assert not refs or 'an ONNX file holds no person check (--identity_weights)' in onnx.notes[0]
    assert torch_.mask.shape == onnx.mask.shape == (len(refs), SIZE, SIZE)
    assert np.allclose(torch_.mask, onnx.mask, atol=1e-3) and np.allclose(
        torch_.attribution, onnx.attribution, atol=1e-3
    )


def test_batch_of_different_numbers_of_references(exported):
    checker = hue_checker()
    both = (
        Restorer(network(), identity_checker=checker),
        Restorer(OnnxNetwork(exported / 'net.onnx'), identity_checker=checker),
    )
    results = []
    for restorer in both:
        people = restorer.people([picture(1, hue=0), picture(2, hue=0), picture(3, hue=1)])
        faces = [restorer.face(picture(9, hue=hue)) for hue in (1, 0, 2)]
        results.append(restorer.restore(restorer.prepare(faces, people, RestoreSettings()), RestoreSettings()))
    for a, b in zip(*results, strict=True):
        assert len(a.chosen) == len(b.chosen) and np.abs(a.image.astype(int) - b.image).max() <= 1
    assert [len(a.chosen) for a in results[0]] == [1, 2, 0]


@pytest.mark.parametrize(
    ('network', 'more', 'message'),
    [
        ('net0.safetensors', ['--backend', 'onnx'], 'refstar export'),
        ('net.onnx', ['--backend', 'torch'], 'runs by the backend onnx'),
        ('net.onnx', ['--bf16'], 'computes in fp32'),
        ('net.onnx', ['--on_wrong_identity', 'refuse'], 'give --identity_weights'),
        ('net.onnx', ['--use', 'eyes'], 'take the network in torch'),
        ('net.onnx', ['--fidelity', '0.5'], 'CodeFormer has'),
        ('missing.onnx', [], 'no such file'),
        ('broken.onnx', [], 'cannot be read'),
    ],
)
def test_what_onnx_cannot_do_is_refused(exported, tmp_path, capsys, network, more, message):
    (exported / 'broken.onnx').write_bytes(b'no network')
    inputs = ['-i', str(exported / 'lq.png'), '-r', str(exported / 'alice'), '--aligned', '-o', str(tmp_path)]
    assert main([*inputs, '-n', str(exported / network), *more]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_banks_and_painted_masks_need_torch(exported, pair, tmp_path):
    build = ['build', exported / 'alice', '-n', exported / 'net.onnx', '-o', tmp_path / 'a.refbank']
    assert bank([str(arg) for arg in build]) == 2
    save(tmp_path / 'masks' / '1.png', np.zeros((SIZE, SIZE), np.uint8))
    inputs = ['-i', str(exported / 'lq.png'), '-r', str(exported / 'alice'), '--aligned', '-o', str(tmp_path / 'out')]
    assert main([*inputs, '-n', str(exported / 'net.onnx'), '--ref_mask_dir', str(tmp_path / 'masks')]) == 2
    with pytest.raises(RefStarError, match='not its ONNX file'):
        _ = pair[1].net
