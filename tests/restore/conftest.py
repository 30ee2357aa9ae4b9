"""Fixtures of the tests of restoring."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from helpers.restoring import network_file, picture, save

from refstar.tools.export import main


@pytest.fixture(scope='session')
def exported(tmp_path_factory) -> Path:
    """Folder with net0.safetensors, the same exported to net.onnx, what the command printed, a photo and references."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    folder = tmp_path_factory.mktemp('exported')
    with redirect_stdout(StringIO()) as printed:
        assert main([str(network_file(folder)), '--onnx', str(folder / 'net.onnx')]) == 0
    (folder / 'printed').write_text(printed.getvalue())
    save(folder / 'lq.png', picture(0))
    for i in (1, 2):
        save(folder / 'alice' / f'{i}.png', picture(i))
    return folder


@pytest.fixture(scope='session')
def net(tmp_path_factory) -> Path:
    """File of the tiny network."""
    return network_file(tmp_path_factory.mktemp('net'))
