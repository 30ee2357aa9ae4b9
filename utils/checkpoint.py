"""Checkpoints and weight files: written atomically, read without running code, checked against the network."""

import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from .atomic_files import new_file
from .errors import RefStarError

SAFETENSORS = '.safetensors'
FROZEN = 'frozen:'  # tensors of this prefix are weight files that a network file carries along, see network_file.py
LEVELS = ('params_ema', 'params', 'state_dict')  # keys under which projects keep a state dict


class WriteError(RefStarError):
    """A file could not be written: disk full, no permission ..."""


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    try:
        with new_file(path) as file:
            yield file
    except (OSError, RuntimeError) as error:  # the second is torch's
        raise WriteError(f'cannot write {path}: {error}') from error


# ----------------------------------------------------------------- files
def save_atomically(data: Any, path: str | os.PathLike) -> None:
    """Write `data` with `torch.save` into an existing folder; a crash at any moment leaves the old file or the new one.

    Raises:
        RefStarError: the file could not be written (disk full, no permission ...).
    """
    with _new_file(Path(path)) as file:
        torch.save(data, file)


def save_tensors(tensors: dict[str, Tensor], metadata: dict[str, str], path: str | os.PathLike) -> None:
    """Write a .safetensors file, with the promise and the errors of `save_atomically`."""
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    with _new_file(Path(path)) as file:
        file.write(safetensors.torch.save(own, {'format': 'pt', **metadata}))


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a .safetensors file, onto the CPU, and its metadata.

    Raises:
        RefStarError: the file is missing or broken.
    """
    if not Path(path).is_file():
        raise RefStarError(f'{path}: no such file')
    try:
        with safetensors.safe_open(path, 'pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        reason = what_instead(path) or f'is no .safetensors file, or is broken: {error}'
        raise RefStarError(f'{path}: {reason}') from error


def load_file(path: str | os.PathLike) -> Any:
    """Read a file of `torch.save`, or the state dict of a .safetensors file, onto the CPU; refuse Python objects.

    Raises:
        RefStarError: the file is missing, broken, or holds Python objects.
    """
    if not Path(path).is_file():
        raise RefStarError(f'{path}: no such file')
    if Path(path).suffix == SAFETENSORS:
        return {name: tensor for name, tensor in load_tensors(path)[0].items() if not name.startswith(FROZEN)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch's, about pickles of other programs
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a broken pickle can end in almost any exception
        raise RefStarError(f'{path}: {what_instead(path) or _why_unreadable(error)}') from error


def _why_unreadable(error: Exception) -> str:
    """Return why a file of torch was refused, without torch's advice to run the code in it."""
    if not isinstance(error, UnpicklingError):
        return f'cannot be read, the file is broken: {(str(error) or type(error).__name__).splitlines()[0]}'
    found = re.search(r'GLOBAL (\S+)', str(error))
    what = f'holds Python objects ({found[1]})' if found else 'holds Python objects'
    return f'{what} besides tensors and plain values, which could run code, or is broken; take a file of weights alone'


def what_instead(path: str | os.PathLike) -> str:
    """Say what a file is that should hold a network but is no such file at all; '' where it may be one."""
    with open(path, 'rb') as file:
        head = file.read(200)
    start = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if start.startswith(b'version https://git-lfs'):
        return 'is a Git LFS pointer, not the file that it stands for; `git lfs pull` fetches that'
    if start.startswith((b'<!doctype', b'<html', b'<?xml')):
        return 'is a web page, not a network; download the file itself'
    if not head:
        return 'is empty; fetch it again'
    is_text = all(32 <= byte < 127 or byte in b'\t\r\n' for byte in head)
    return 'is a text, not a network; take the file itself' if is_text else ''


def sha256(path: str | Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ----------------------------------------------------------------- state dicts
def unwrap(content: Any, path: str | os.PathLike, levels: Sequence[str] = LEVELS, bare: bool = True) -> dict[str, Any]:
    """Return the state dict in the content of a file, a leading `module.` removed from its keys.

    Args:
        levels: keys that may hold the state dict; the first one there counts.
        bare: without any of these keys, the whole content is the state dict. Otherwise this is an error.

    Raises:
        RefStarError: there is none.
    """
    found = content if isinstance(content, dict) else {}
    level = next((key for key in levels if isinstance(found.get(key), dict)), None)
    if level is None and not bare:
        keys = ', '.join(map(str, list(found)[:4])) or type(content).__name__
        raise RefStarError(f'{path}: has no {levels[0]!r} (it holds: {keys})')
    state = found if level is None else found[level]
    if not any(isinstance(value, Tensor) for value in state.values()):
        raise RefStarError(f'{path}: holds no state dict')
    return {str(key).removeprefix('module.'): value for key, value in state.items()}


def state_dict_of(
    path: str | os.PathLike, param_key: str | None = 'params', given: str | None = '', option: str = 'param_key'
) -> dict[str, Tensor]:
    """Read a network's state dict in BasicSR's format.

    Args:
        path: a file `{'params': ..., 'params_ema': ...}`; or a bare state dict, as a .safetensors file is.
        param_key: which of them, 'params' where it is not there; None: a bare state dict.
        given: key that a user gave for this file, where the others are not there; None: as for `param_key`.
        option: name of the option for that key, for messages.

    Raises:
        RefStarError: as `load_file`, or the file has none of these; names the keys of state dicts that it has.
    """
    content = load_file(path)
    bare = None in (param_key, given) or Path(path).suffix == SAFETENSORS
    levels = tuple(dict.fromkeys(key for key in (param_key, 'params', given) if key)) if param_key else ()
    try:
        return unwrap(content, path, levels, bare)
    except RefStarError as error:
        found = content if isinstance(content, dict) else {}
        keys = [key for key, value in found.items() if isinstance(value, dict) and _is_state_dict(value)]
        if _is_state_dict(found):
            raise RefStarError(f'{path}: has no {levels[0]!r}, it is a bare state dict; set {option}: ~') from error
        if keys:
            raise RefStarError(f'{path}: its weights are under {", ".join(keys)}; set {option}: {keys[0]}') from error
        raise


def _is_state_dict(content: dict) -> bool:
    return any(isinstance(value, Tensor) for value in content.values())


def read_state_dict(path: str | Path | None, what: str) -> dict[str, Tensor]:
    """Read the state dict of a released network, whatever level it is stored on.

    Raises:
        RefStarError: no path given, no such file, or not a state dict; begins with `what` needs it.
    """
    if not path:
        raise RefStarError(f'{what}: no weights file is configured; give its path (nothing is downloaded)')
    try:
        return unwrap(load_file(path), path)
    except RefStarError as error:
        raise RefStarError(f'{what}: {error}') from error


def in_half(state: dict[str, Tensor], path: str | os.PathLike) -> dict[str, Tensor]:
    """Convert a state dict to fp16, whole numbers excepted; RefStarError for numbers beyond its range."""
    largest = torch.finfo(torch.float16).max
    for name, value in state.items():
        if value.is_floating_point() and value.numel() and not value.abs().max() <= largest:
            raise RefStarError(f'{path}: {name} holds numbers beyond {largest:.0f}, which fp16 cannot')
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def require_fit(net: nn.Module, state: dict[str, Tensor], path: str | os.PathLike) -> None:
    """Check that a state dict is one of this network. Files from before batch norm counted its batches fit too.

    Raises:
        RefStarError: keys are missing, unexpected, or of another shape; names the file and the first of each.
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


def load_fitting(net: nn.Module, state: dict[str, Tensor], path: str | Path) -> nn.Module:
    """Load a state dict of exactly this network; errors as of `require_fit`."""
    require_fit(net, state, path)
    net.load_state_dict(state)
    return net
