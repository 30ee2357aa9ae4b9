"""Checkpoint files: written whole or not at all, read without running code, refused by name when they do not fit."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from .errors import RefStarError


def save_atomically(data: Any, path: str | os.PathLike) -> None:
    """Writes `data` with `torch.save`; a crash at any moment leaves either the old file or the new one.

    Args:
        data: what `torch.save` accepts.
        path: file to write; its folder exists.

    Raises:
        RefStarError: the file could not be written (disk full, no permission ...).
    """
    path = Path(path)
    part = path.with_name(f'.{path.name}.part')
    try:
        with open(part, 'wb') as file:
            torch.save(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise RefStarError(f'cannot write {path}: {error}') from error


def load_file(path: str | os.PathLike) -> Any:
    """Reads a file of tensors and plain values onto the CPU; arbitrary Python objects in it are refused.

    Raises:
        RefStarError: the file is missing, broken, or holds Python objects.
    """
    if not Path(path).is_file():
        raise RefStarError(f'{path}: no such file')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a broken pickle can end in almost any exception
        what = 'holds Python objects besides tensors and plain values, or is broken'
        what = what if isinstance(error, UnpicklingError) else 'cannot be read, the file is broken'
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RefStarError(f'{path}: {what}: {reason}') from error


def state_dict_of(path: str | os.PathLike, param_key: str | None = 'params') -> dict[str, torch.Tensor]:
    """Reads a network's state dict in BasicSR's format.

    Args:
        path: a file `{'params': ..., 'params_ema': ...}`, or a bare state dict if `param_key` is None.
        param_key: which of them; 'params' is taken where the file has no 'params_ema'.

    Returns:
        The state dict, a leading `module.` removed from its keys.

    Raises:
        RefStarError: as `load_file`, or the file has no `param_key`.
    """
    content = load_file(path)
    if param_key is not None:
        if not isinstance(content, dict) or (param_key not in content and 'params' not in content):
            keys = ', '.join(map(str, list(content)[:4])) if isinstance(content, dict) else type(content).__name__
            raise RefStarError(
                f'{path}: has no {param_key!r} (it holds: {keys}); for a bare state dict set param_key: ~'
            )
        content = content[param_key if param_key in content else 'params']
    return {key.removeprefix('module.'): value for key, value in content.items()}


def require_fit(net: nn.Module, state: dict[str, torch.Tensor], path: str | os.PathLike) -> None:
    """Checks that a state dict is one of this network.

    Raises:
        RefStarError: keys are missing, unexpected, or of another shape; names the file and the first of each. Files
            from before batch norm counted its batches are taken.
    """
    own = net.state_dict()
    problems = {
        'missing': [key for key in own if key not in state and not key.endswith('.num_batches_tracked')],
        'unexpected': [key for key in state if key not in own],
        'other shape': [
            f'{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}'
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
    }
    if any(problems.values()):
        text = '; '.join(f'{len(keys)} {what}: {", ".join(keys[:3])}' for what, keys in problems.items() if keys)
        raise RefStarError(f'{path} is a checkpoint of another network than {type(net).__name__}: {text}')
