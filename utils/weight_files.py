"""Weight files of frozen networks (identity, LPIPS): given by path, nothing is downloaded."""

import hashlib
from pathlib import Path

from torch import Tensor, nn

from .checkpoint import load_file, require_fit
from .errors import RefStarError


def sha256(path: str | Path) -> str:
    """Hexadecimal sha256 of a file, for reports."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_state_dict(path: str | Path | None, what: str) -> dict[str, Tensor]:
    """Reads the state dict of a released network, whatever level it is stored on.

    Args:
        path (str | Path | None): file written by ``torch.save``.
        what (str): what needs it and under which key it is configured, for error messages.

    Returns:
        dict: the tensors, without an outer 'params_ema', 'params' or 'state_dict' level and without 'module.'.

    Raises:
        RefStarError: no path given, no such file, or not a state dict.
    """
    if not path:
        raise RefStarError(f'{what}: no weights file is configured; give its path (nothing is downloaded)')
    try:
        state = load_file(path)
    except RefStarError as error:
        raise RefStarError(f'{what}: {error}') from error
    for outer in ('params_ema', 'params', 'state_dict'):
        if isinstance(state, dict) and isinstance(state.get(outer), dict):
            state = state[outer]
            break
    if not isinstance(state, dict) or not state:
        raise RefStarError(f'{what}: {path} holds no state dict')
    return {key.removeprefix('module.'): value for key, value in state.items()}


def load_fitting(net: nn.Module, state: dict[str, Tensor], path: str | Path) -> nn.Module:
    """Loads a state dict of exactly this network; RefStarError names the file and the differences otherwise."""
    require_fit(net, state, path)
    net.load_state_dict(state)
    return net
