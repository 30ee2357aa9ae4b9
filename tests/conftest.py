"""Fixtures shared by the tests."""

import logging
import os
from pathlib import Path

import pytest
import torch

from refstar import RefSTAR  # noqa: F401  (imports BasicSR, mended, before a test names a part of it)

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def new_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """BasicSR's log heard by caplog, with the root's level: not as an earlier test in this process has left it."""
    from basicsr.utils import logger

    log = logging.getLogger('basicsr')
    log.setLevel(logging.NOTSET)
    monkeypatch.setattr(log, 'handlers', [])
    monkeypatch.setattr(log, 'propagate', True)
    monkeypatch.setitem(logger.initialized_logger, 'basicsr', True)


@pytest.fixture(scope='session')
def faces_root() -> Path:
    """Folder of real faces and small pretrained networks: $REFSTAR_FACES, or ../shared/faces beside the project."""
    given = os.environ.get('REFSTAR_FACES')
    root = Path(given) if given else Path(__file__).resolve().parents[2] / 'shared' / 'faces'
    if not (root / 'weights').is_dir():
        pytest.skip(f'no real faces and networks at {root} (set REFSTAR_FACES)')
    return root


@pytest.fixture(scope='session')
def identity_weights(tmp_path_factory) -> str:
    """File of an untrained MobileFaceNet."""
    from refstar.mobilefacenet_arch import MobileFaceNet

    path = tmp_path_factory.mktemp('weights') / 'mobilefacenet.pth'
    torch.manual_seed(0)
    torch.save(MobileFaceNet().state_dict(), path)
    return str(path)


@pytest.fixture(scope='session')
def squeeze_weights(tmp_path_factory) -> str:
    """File of an untrained SqueezeNet, in torchvision's form."""
    from torchvision.models import squeezenet1_1

    path = tmp_path_factory.mktemp('weights') / 'squeezenet1_1.pth'
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), path)
    return str(path)
