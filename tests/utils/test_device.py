"""Devices are chosen by name, or refused in one line."""

import pytest
import torch

from refstar import RefStarError
from refstar.utils.device import choose_device


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('gpu', 'must be cpu, cuda, cuda:1 ... or mps'),
        ('cuda:x', 'must be cpu'),
        ('cuda:1', 'torch finds 1 GPUs here, counted from 0; take cpu'),
        ('mps', 'torch finds no Apple GPU here; take cpu'),
    ],
)
def test_other_devices_are_one_clear_line(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)
    with pytest.raises(RefStarError, match=f'^--device {name}: .*{message}'):
        choose_device(name)
