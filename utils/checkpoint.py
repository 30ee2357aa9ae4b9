"""Checkpoint files: written whole or not at all, read without running code, refused by name when they do not fit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import nn

from .atomic_files import new_file
from .errors import RefStarError

SAFETENSORS = '.safetensors'
FROZEN = 'frozen:'  # tensors of this prefix are weight files that a network file carries along, see network_file.py


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    try:
        with new_file(path) as file:
            yield file
    except (OSError, RuntimeError) as error:  # the second is torch's
        raise WriteError(f'cannot write {path}: {error}') from error


class WriteError(RefStarError):
    """A file could not be written: disk full, no permission ..."""


def save_atomically(data: Any, path: str | os.PathLike) -> None:
    """Writes `data` with `torch.save`; a crash at any moment leaves either the old file or the new one.

    It is on disk when the call returns, name and all.

    Args:
        data: what `torch.save` accepts.
        path: file to write; its folder exists.

    Raises:
        RefStarError: the file could not be written (disk full, no permission ...).
    """
    with _new_file(Path(path)) as file:
        torch.save(data, file)


def save_tensors(tensors: dict[str, torch.Tensor], metadata: dict[str, str], path: str | os.PathLike) -> None:
    """Writes a .safetensors file, with the promise and the errors of `save_atomically`."""
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    with _new_file(Path(path)) as file:
        file.write(safetensors.torch.save(own, {'format': 'pt', **metadata}))


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Reads a .safetensors file: its tensors, on the CPU, and its metadata.

    Raises:
        RefStarError: the file is missing or broken.
    """
    if not Path(path).is_file():
        raise RefStarError(f'{path}: no such file')
    try:
        with safetensors.safe_open(path, 'pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise RefStarError(f'{path}: is no .safetensors file, or is broken: {error}') from error


def load_file(path: str | os.PathLike) -> Any:
    """Reads a file of tensors and plain values onto the CPU; arbitrary Python objects in it are refused.

    Args:
        path: a file written by `torch.save`, or a .safetensors file, of which the network's state dict is taken.

    Raises:
        RefStarError: the file is missing, broken, or holds Python objects.
    """
    if not Path(path).is_file():
        raise RefStarError(f'{path}: no such file')
    if Path(path).suffix == SAFETENSORS:
        return {name: tensor for name, tensor in load_tensors(path)[0].items() if not name.startswith(FROZEN)}
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
        path: a file `{'params': ..., 'params_ema': ...}`, or a bare state dict if `param_key` is None; a .safetensors
            file holds one state dict and needs no `param_key`.
        param_key: which of them; 'params' is taken where the file has no 'params_ema'.

    Returns:
        The state dict, a leading `module.` removed from its keys.

    Raises:
        RefStarError: as `load_file`, or the file has no `param_key`.
    """
    content = load_file(path)
    if param_key is not None and Path(path).suffix != SAFETENSORS:
        if not isinstance(content, dict) or (param_key not in content and 'params' not in content):
            keys = ', '.join(map(str, list(content)[:4])) if isinstance(content, dict) else type(content).__name__
            raise RefStarError(
                f'{path}: has no {param_key!r} (it holds: {keys}); for a bare state dict set param_key: ~'
            )
        content = content[param_key if param_key in content else 'params']
    return {key.removeprefix('module.'): value for key, value in content.items()}


def in_half(state: dict[str, torch.Tensor], path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """A state dict in fp16; whole numbers stay. `path` is for messages.

    Raises:
        RefStarError: a tensor holds numbers that fp16 cannot.
    """
    largest = torch.finfo(torch.float16).max
    for name, value in state.items():
        if value.is_floating_point() and value.numel() and not value.abs().max() <= largest:
            raise RefStarError(f'{path}: {name} holds numbers beyond {largest:.0f}, which fp16 cannot')
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


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
