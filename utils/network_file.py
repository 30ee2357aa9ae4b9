"""A network in one file: its weights, the options that build it, and the files of its frozen networks.

A .safetensors file keeps the options as JSON in its metadata, under `refstar`; a .pth file keeps the same text beside
`params`. Frozen networks (identity) are not in a state dict. Their files are embedded as bytes, named by their sha256,
or stay outside and are checked against it. Nothing of a file is ever executed.
"""

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .archs import build_network
from .checkpoint import (
    FROZEN,
    LEVELS,
    SAFETENSORS,
    load_file,
    load_fitting,
    load_tensors,
    save_atomically,
    save_tensors,
    sha256,
    unwrap,
)
from .errors import RefStarError
from .yaml_files import read_yaml_file

VERSION = 1
KEY = 'refstar'
PROGRAMS = ('torchscript', 'onnx')  # identity networks whose files are programs: never embedded
REMOVED = {'mix': 'selection'}  # options of 0.1.0 that had this value only: dropped
INITIAL = ('decoder_load_path',)  # options that name weights to start a training from: not needed afterwards


@dataclass
class NetworkFile:
    """Content of a network file.

    Attributes:
        state: the network's state dict.
        options: block `network_g` that builds it; None if the file does not say.
        hashes: of every weights file that the options name: path -> sha256.
        embedded: sha256 -> content of those that are in the file, uint8 (size,).
    """

    state: dict[str, Tensor]
    options: dict[str, Any] | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    embedded: dict[str, Tensor] = field(default_factory=dict)


def frozen_blocks(options: Any) -> Iterator[dict[str, Any]]:
    """Find the blocks in an option block that name a frozen network (`network`) and its file (`weights`)."""
    if isinstance(options, dict):
        if isinstance(options.get('network'), str) and isinstance(options.get('weights'), str):
            yield options
        for value in options.values():
            yield from frozen_blocks(value)


# ----------------------------------------------------------------- reading
def read_network(
    path: str | Path, options: dict[str, Any] | str | Path | None = None, param_key: str | None = None
) -> NetworkFile:
    """Read a network's file.

    Args:
        path: a .safetensors file, or a .pth file of BasicSR.
        options: the network's block, or an option file that has it, in place of what the file or the experiment says.
            None: those of the file; of a .pth without any, those of the option file in its experiment's folder.
        param_key: which weights of a .pth file. None: `params_ema`, else `params`, else the whole file.

    Raises:
        RefStarError: the file is missing or broken, holds Python objects, or has no such weights.
    """
    path = Path(path)
    if path.suffix == SAFETENSORS:
        state, metadata = load_tensors(path)
        text = metadata.get(KEY)
        embedded = {name.removeprefix(FROZEN): state.pop(name) for name in list(state) if name.startswith(FROZEN)}
    else:
        content = load_file(path)
        state = unwrap(content, path, (param_key,) if param_key else LEVELS, bare=not param_key)
        text, embedded = content.get(KEY), content.get('frozen') or {}
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise RefStarError(f'{path}: holds no state dict')
    named, hashes = _parse(text, path) if isinstance(text, str) else (None, {})
    if options is None and named is None and path.suffix != SAFETENSORS:
        options = _option_file_of_experiment(path)
    if options is not None:
        named, hashes = (options if isinstance(options, dict) else _network_block(options, path)), {}
    embedded = {digest: embedded[digest] for digest in hashes.values() if digest in embedded}
    if not all(isinstance(data, Tensor) and data.dtype == torch.uint8 for data in embedded.values()):
        raise RefStarError(f'{path}: the weights files in it are broken')
    return NetworkFile(state, named, hashes, embedded)


def _parse(text: str, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        note = json.loads(text)
        version, options, hashes = note['version'], note['network'], note['frozen']
        sound = isinstance(options['type'], str) and all(re.fullmatch('[0-9a-f]{64}', x) for x in hashes.values())
        if version == VERSION and not sound:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RefStarError(f'{path}: the options in its metadata are broken; give them (--options X.yml)') from None
    if version != VERSION:
        raise RefStarError(f'{path}: its options are of version {version}, this program reads {VERSION}: update it')
    return {key: value for key, value in options.items() if (key, value) not in REMOVED.items()}, hashes


def _network_block(option_file: str | Path, checkpoint: Path) -> dict[str, Any]:
    """Find the block that describes a checkpoint: `network_g` for `net_g_5000.pth` or any other name."""
    options = read_yaml_file(option_file)
    if isinstance(options.get('type'), str):
        return options
    label = re.match(r'net_([a-z0-9]+)_', checkpoint.name)
    key = f'network_{label[1] if label else "g"}'
    if not isinstance(options.get(key), dict) or 'type' not in options[key]:
        raise RefStarError(f'{option_file}: has no block {key} that describes {checkpoint.name}')
    return options[key]


def _option_file_of_experiment(path: Path) -> Path | None:
    """Find the option file of `experiments/NAME/models/net_g_5000.pth`."""
    folder = path.resolve().parent
    files = sorted(folder.parent.glob('*.yml')) if folder.name == 'models' else []
    if len(files) > 1:
        names = ', '.join(file.name for file in files)
        raise RefStarError(f'{path}: several option files in its experiment ({names}): say which (--options X.yml)')
    return files[0] if files else None


# ----------------------------------------------------------------- building
def load_network(
    path: str | Path, device: str | torch.device = 'cpu', options: dict[str, Any] | str | Path | None = None
) -> nn.Module:
    """Build the network of a file, with its weights, in evaluation mode.

    Args:
        path: a .safetensors or .pth file; of a BasicSR checkpoint `params_ema` is preferred.
        device: where to put it.
        options: as of :func:`read_network`.

    Raises:
        RefStarError: as :func:`read_network`; there are no options; or the weights are another network's.
    """
    return build(read_network(path, options), path).to(device)


def build(file: NetworkFile, path: str | Path) -> nn.Module:
    """Build the network of a file that was read from `path`, in evaluation mode; errors as of :func:`load_network`."""
    if file.options is None:
        raise RefStarError(f'{path}: does not say what network it is: give its option file (--options X.yml)')
    with _unpacked(file, Path(path)) as options, torch.random.fork_rng(devices=[]):
        try:
            net = build_network(options)
        except RefStarError as error:
            raise RefStarError(f'{path}: {error}') from error
        except Exception as error:  # whatever a class raises that is unknown, or takes no such options
            reason = error.args[0] if error.args else type(error).__name__
            raise RefStarError(f'{path}: its network cannot be built here: {reason}') from error
    return load_fitting(net, file.state, path).eval()


@contextmanager
def _unpacked(file: NetworkFile, path: Path) -> Iterator[dict[str, Any]]:
    """Yield the options with paths of files that exist: what is embedded is in a temporary folder."""
    options = copy.deepcopy(file.options)
    with TemporaryDirectory(prefix='refstar-') as folder:
        for block in frozen_blocks(options):
            digest = file.hashes.get(block['weights'])
            if digest in file.embedded:
                if block.get('network') in PROGRAMS:
                    raise RefStarError(f'{path}: carries a program ({block["network"]}) as weights: refused')
                suffix = SAFETENSORS if block['weights'].endswith(SAFETENSORS) else '.pth'
                block['weights'] = str(Path(folder) / f'{digest}{suffix}')
                Path(block['weights']).write_bytes(file.embedded[digest].numpy().tobytes())
            elif digest:
                name = Path(block['weights']).name
                places = Path(block['weights']).expanduser(), path.parent / name
                found = next((place for place in places if place.is_file()), None)
                if found is None:
                    raise RefStarError(f'{path}: needs {block["weights"]}, which is not there; put {name} beside it')
                block['weights'] = str(found)
            if digest and sha256(block['weights']) != digest:
                name = Path(block['weights']).name
                raise RefStarError(f'{path}: was made with another {name}, of sha256 {digest}')
        yield options


# ----------------------------------------------------------------- writing
def save_network(
    net: nn.Module | dict[str, Tensor] | NetworkFile,
    path: str | Path,
    options: dict[str, Any] | None = None,
    embed_frozen: bool = True,
) -> None:
    """Write a network into one file that :func:`load_network` builds it from.

    Args:
        net: the network, its state dict, or what :func:`read_network` returned.
        path: .safetensors, or .pth.
        options: block `network_g` of its option file; not with what :func:`read_network` returned.
        embed_frozen: embed the weights files of its frozen networks; their licences then apply to the file. False:
            write only paths and sha256; the files must be there, or beside the network's, when it is loaded.

    Raises:
        RefStarError: the options are no plain values, a weights file is missing, or the file cannot be written.
    """
    path, text, embedded = Path(path), None, {}
    if path.suffix not in (SAFETENSORS, '.pth'):
        raise RefStarError(f'{path}: a network is written to a file .safetensors or .pth')
    state = net.state_dict() if isinstance(net, nn.Module) else net
    file = net if isinstance(net, NetworkFile) else NetworkFile(state, options)
    state = {name.removeprefix('module.'): value for name, value in file.state.items()}
    if file.options is not None:
        options, hashes, embedded = _packed(file, embed_frozen)
        try:
            text = json.dumps({'version': VERSION, 'network': options, 'frozen': hashes})
        except (TypeError, ValueError) as error:
            raise RefStarError(f'{path}: the options of the network are no plain values: {error}') from error
    if path.suffix == SAFETENSORS:
        tensors = state | {f'{FROZEN}{digest}': data for digest, data in embedded.items()}
        save_tensors(tensors, {KEY: text} if text else {}, path)
    else:
        note = {KEY: text, 'frozen': embedded} if text else {}
        save_atomically({'params': {name: value.cpu() for name, value in state.items()}, **note}, path)


def _packed(file: NetworkFile, embed: bool) -> tuple[dict[str, Any], dict[str, str], dict[str, Tensor]]:
    """Return the options to write, the sha256 of the weights files that they name, and the embedded files."""
    options, hashes, embedded = copy.deepcopy(file.options), {}, {}
    for key in INITIAL:
        backbone = options.get('backbone') or {}
        for block in (options, backbone, backbone.get('mean') or {}):
            if key in block:
                block[key] = None
    for block in frozen_blocks(options):
        weights, digest = block['weights'], file.hashes.get(block['weights'])
        data = file.embedded.get(digest)
        if data is None and (embed or not digest):
            source = Path(weights).expanduser()
            if not source.is_file():
                raise RefStarError(f'{weights}: no such file; the options of the network name it (key weights)')
            known, digest = digest, sha256(source)
            if known and known != digest:
                raise RefStarError(f'{weights}: is another file than the network was made with, of sha256 {known}')
            if embed and block['network'] not in PROGRAMS:
                data = torch.from_numpy(np.fromfile(source, dtype=np.uint8))
        if data is not None:
            embedded[digest] = data
            block['weights'] = f'{digest[:8]}_{Path(weights).name.removeprefix(f"{digest[:8]}_")}'
        hashes[block['weights']] = digest
    return options, hashes, embedded
