"""Reading weight files of frozen networks (identity, LPIPS): by path, nothing is downloaded."""

import hashlib
import pickle
from pathlib import Path

import torch
from torch import Tensor

from .errors import RefStarError


def sha256(path: str | Path) -> str:
    """Hexadecimal sha256 of a file, for reports."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_state_dict(path: str | Path | None, what: str) -> dict[str, Tensor]:
    """Reads a state dict onto the CPU.

    Args:
        path (str | Path | None): file written by ``torch.save``.
        what (str): what needs it and under which key it is configured, for error messages.

    Returns:
        dict: the tensors, without an outer 'params_ema', 'params' or 'state_dict' level and without a common 'module.'.

    Raises:
        RefStarError: no path given, no such file, or not a state dict.
    """
    if not path:
        raise RefStarError(f'{what}: no weights file is configured; give its path (nothing is downloaded)')
    if not Path(path).is_file():
        raise RefStarError(f'{what}: weights file {path} does not exist; give the path of the file')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise RefStarError(f'{what}: {path} is not a readable weights file ({str(error).splitlines()[0]})') from error
    for outer in ('params_ema', 'params', 'state_dict'):
        if isinstance(state, dict) and isinstance(state.get(outer), dict):
            state = state[outer]
            break
    if not isinstance(state, dict) or not state:
        raise RefStarError(f'{what}: {path} holds no state dict')
    if all(key.startswith('module.') for key in state):
        state = {key.removeprefix('module.'): value for key, value in state.items()}
    return state


def load_strict(net: torch.nn.Module, state: dict[str, Tensor], path: str | Path, what: str) -> None:
    """Loads a state dict; a file of another network is an error that names the first difference."""
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        detail = ' '.join(str(error).split())[:200]
        raise RefStarError(f'{what}: {path} holds the weights of another network ({detail} ...)') from error
