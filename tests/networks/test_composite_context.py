"""Composite context with networks given by their files: general face tokens, identity by ONNX."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.networks import BACKBONES, SIZE, bare, images, run
from torch import Tensor, nn

from refstar import CompositeContext, RefSTAR, RefStarError
from refstar.identity_arch import arcface_crop

SMALL = {'dim': 16, 'channels': 8, 'grid': 2}


def pooled(faces: Tensor) -> Tensor:
    """(m, 3, H, W) -> mean colours of 4 x 4 cells of ArcFace's crop, (m, 3, 4, 4)."""
    return F.avg_pool2d(arcface_crop(faces), 28)


def tokens(cells: Tensor) -> Tensor:
    return cells.flatten(2).transpose(1, 2)


def script(path: Path, form: Callable[[Tensor], Tensor]) -> dict[str, str]:
    """Options of a TorchScript network: the cells of the crop, in some form."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return form(F.avg_pool2d(x, 28))

    torch.jit.trace(Net(), torch.rand(2, 3, 112, 112)).save(path)
    return {'network': 'torchscript', 'weights': str(path)}


def onnx_file(path: Path) -> dict[str, str]:
    """Options of an ONNX network: the cells of the crop in one vector."""
    pytest.importorskip('onnxruntime')
    onnx = pytest.importorskip('onnx')
    node, form, real = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [
        node('AveragePool', ['x'], ['cells'], kernel_shape=[28, 28], strides=[28, 28]),
        node('Flatten', ['cells'], ['y']),
    ]
    ends = [form('x', real, ['m', 3, 112, 112])], [form('y', real, ['m', 48])]
    opset = [onnx.helper.make_opsetid('', 17)]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph(nodes, 'net', *ends), opset_imports=opset, ir_version=8), path
    )
    return {'network': 'onnx', 'weights': str(path)}


def test_general_face_tokens(tmp_path):
    context, refs = CompositeContext(**SMALL, face=script(tmp_path / 'face.pt', tokens)), images(2, 3, seed=1)
    found = context(refs)
    assert found.shape == (2, 3, 16 + 4, 16)
    wanted = context.project['face'](F.normalize(tokens(pooled(refs.flatten(0, 1))), dim=-1)) + context.place[:16]
    torch.testing.assert_close(found.flatten(0, 1)[:, :16], wanted, atol=1e-5, rtol=1e-4)


def test_an_onnx_network_as_identity(tmp_path):
    context = CompositeContext(**SMALL, identity=onnx_file(tmp_path / 'face.onnx'))
    refs = images(2, 3, seed=1).requires_grad_()  # as in the cycle pass: it gives no gradients, and none are asked for
    wanted = context.project['identity'](F.normalize(pooled(refs.flatten(0, 1)).flatten(1))) + context.place[0]
    torch.testing.assert_close(context(refs).flatten(0, 1)[:, 0], wanted, atol=1e-5, rtol=1e-4)


def test_both_condition_a_backbone(tmp_path):
    torch.manual_seed(0)
    files = {'identity': onnx_file(tmp_path / 'id.onnx'), 'face': script(tmp_path / 'face.pt', tokens)}
    options = {'refsel': {'size': SIZE, 'channels': 8}, 'ref_channels': 8, 'context': SMALL | files}
    net = RefSTAR(BACKBONES['RRDBNet'], SIZE, **options).eval()
    nn.init.normal_(net.inject[0].out.weight, std=0.05)  # it starts at zero
    lq, refs = images(1, seed=1), images(1, 2, seed=2)
    net(lq, refs).sum().backward()
    assert all(project.weight.grad.abs().sum() > 0 for project in net.context.project.values())
    assert torch.equal(run(net, lq, refs, strength=0.0), bare(net, lq))
    out = run(net, lq, refs)
    torch.testing.assert_close(run(net, lq, refs, chunk=1), out, atol=1e-5, rtol=0)
    with torch.no_grad():
        bank = net.encode(refs)
        torch.testing.assert_close(run(net, lq, bank=bank), out, atol=1e-5, rtol=0)
        for project in net.context.project.values():
            before = run(net, lq, refs)
            project.weight.mul_(2)
            assert not torch.equal(run(net, lq, refs), before)


@pytest.mark.parametrize(
    ('form', 'message'),
    [
        (lambda cells: cells, r'face\.pt gives shape \(2, 3, 4, 4\) for two faces'),
        (lambda cells: cells.mean((1, 2, 3)), r'face\.pt gives shape \(2,\)'),
        (lambda cells: cells.reshape(1, 32, 3), r'face\.pt gives shape \(1, 32, 3\)'),
    ],
)
def test_a_network_of_another_form_is_named(tmp_path, form, message):
    with pytest.raises(RefStarError, match=message):
        CompositeContext(**SMALL, face=script(tmp_path / 'face.pt', form))
