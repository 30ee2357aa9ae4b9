"""ONNX files are opened by the provider that was asked for, or refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from refstar import RefStarError
from refstar.utils.onnx_session import open_session

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network that returns its input."""
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in 'xy')
    graph = onnx.helper.make_graph([onnx.helper.make_node('Identity', ['x'], ['y'])], 'net', [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 18)])
    model.ir_version = 9
    onnx.save(model, tmp_path / 'net.onnx')
    return tmp_path / 'net.onnx'


@pytest.mark.parametrize('name', ['cpu', 'CPU', 'CPUExecutionProvider', 'cpu, cpu'])
def test_a_provider_is_named_in_short_or_in_full(file: Path, name: str) -> None:
    x = np.array([1, 2], np.float32)
    assert np.array_equal(open_session(file, 'x', providers=name).run(None, {'x': x})[0], x)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'providers': 'openvino'}, "restoring: this onnxruntime has no provider 'openvino', but .*cpu$"),
        ({'providers': 'tensorrt,cpu'}, "no provider 'tensorrt', but .*cpu .*pip install onnxruntime-gpu"),
        ({'device': 'cuda'}, "no provider 'cuda'"),
        ({'device': 'mps'}, "no provider 'coreml'"),
    ],
)
def test_another_provider_is_one_line_with_those_there(file, monkeypatch, given, message) -> None:
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: ['CPUExecutionProvider'])
    with pytest.raises(RefStarError, match=message):
        open_session(file, 'restoring', **given)


@pytest.mark.filterwarnings('ignore')
def test_a_provider_that_does_not_start_is_named(file, monkeypatch) -> None:
    """onnxruntime itself goes on with the CPU."""
    there = ['CoreMLExecutionProvider', 'CPUExecutionProvider']
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: there)
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, 'InferenceSession', lambda *args, providers: session(*args, providers=there[1:]))
    with pytest.raises(RefStarError, match='CoreMLExecutionProvider does not start here'):
        open_session(file, 'restoring', providers='coreml')
