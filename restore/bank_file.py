"""Reference bank files (`.refbank`): the encoded references of one person.

A bank is a safetensors file: tensors and text, no code, so that an untrusted one can be opened. Its header holds the
version, the network's fingerprint, and name and points of every reference. Embeddings and attributes, which decide who
is shown and what is chosen, are not in the file: they are measured again from the crops.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from refstar.reference_bank import ReferenceBank
from refstar.utils.checkpoint import load_tensors, save_tensors
from refstar.utils.errors import RefStarError

from .engine import encode, join
from .faces import Person, Reference
from .identity_check import IdentityChecker
from .input_files import printable, unique
from .reference_choice import measure_attributes

FORMAT = 'refstar.refbank.1'
MAX_REFERENCES = 64  # in a bank: each takes some megabytes


def write_bank(path: Path, person: Person, net: nn.Module, device: torch.device) -> None:
    """Encode a person's references and write them whole or not at all.

    Raises:
        RefStarError: there are too many, or the file cannot be written.
    """
    refs = person.references
    if len(refs) > MAX_REFERENCES:
        raise RefStarError(f'{path}: {len(refs)} references; a bank holds {MAX_REFERENCES} at most (--num_refs)')
    with torch.inference_mode():
        bank = join([encode(net, replace(ref, mask=None, encoded=None), device) for ref in refs], 1)
    tensors = _tensors_of(bank) | {'crops': torch.from_numpy(np.stack([ref.crop for ref in refs]))}
    listed = [
        {'name': Path(ref.name).name, 'points': None if ref.points is None else ref.points.tolist()} for ref in refs
    ]
    about = json.dumps({'person': person.name, 'references': listed})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RefStarError(f'cannot write {path}: {error}') from None
    save_tensors(tensors, {'refbank': FORMAT, 'network': bank.network, 'about': about}, path)


def read_bank(path: Path, net: nn.Module, checker: IdentityChecker | None, device: torch.device) -> Person:
    """Read a bank and check that it fits the network.

    Raises:
        RefStarError: no bank, of another version, or made by another network.
    """
    tensors, header = load_tensors(path)
    if header.get('refbank') != FORMAT:
        raise RefStarError(f'{path}: not a reference bank of format {FORMAT}; make it again from the photos')
    if header.get('network') != net.fingerprint():
        raise RefStarError(f'{path}: was made by another network; make it again from the photos')
    try:
        return _read(path, header, tensors, net, checker, device)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
        if isinstance(error, RefStarError):
            raise
        raise RefStarError(f'{path}: is a broken reference bank ({error}); make it again from the photos') from None


def _read(
    path: Path,
    header: dict[str, str],
    tensors: dict[str, torch.Tensor],
    net: nn.Module,
    checker: IdentityChecker | None,
    device: torch.device,
) -> Person:
    about = json.loads(header['about'])
    listed = about['references']
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_REFERENCES:
        raise ValueError(f'a bank holds 1 to {MAX_REFERENCES} references')
    if not all(isinstance(text, str) for text in (about['person'], *(one['name'] for one in listed))):
        raise ValueError('a name is no text')
    count = len(listed)
    with torch.inference_mode():  # an encoded grey picture has the shapes and types that are expected
        grey = torch.full((1, 1, 3, net.size, net.size), sum(net.value_range) / 2, device=device)
        expected = net.encode(grey)
    for name, like in _tensors_of(expected).items():
        _check(name, tensors[name], (1, count, *like.shape[2:]), like.dtype)
    _check('crops', tensors['crops'], (count, net.size, net.size, 3), torch.uint8)
    bank = ReferenceBank(
        [tensors[f'match.{i}'].to(device) for i in range(len(expected.match))],
        {r: tensors[f'taps.{r}'].to(device) for r in expected.taps},
        torch.ones(1, count, dtype=torch.bool, device=device),
        None,
        None if expected.context is None else tensors['context'].to(device),
        header['network'],
    )
    crops = list(tensors['crops'].numpy())
    embeddings = [None] * count if checker is None else checker.embed(crops, False)
    references = []
    for i, name in enumerate(unique(printable(one['name']) for one in listed)):
        points = _points(listed[i]['points'], net.size)
        attributes = measure_attributes(crops[i], points)
        references.append(
            Reference(f'{path.name}/{name}', crops[i], attributes, points, embeddings[i], None, bank.reference(i))
        )
    return Person(printable(about['person']), references)


def _tensors_of(bank: ReferenceBank) -> dict[str, torch.Tensor]:
    """Return the features of a bank by their names in the file."""
    tensors = {f'match.{i}': x for i, x in enumerate(bank.match)} | {f'taps.{r}': x for r, x in bank.taps.items()}
    return tensors if bank.context is None else tensors | {'context': bank.context}


def _points(given: object, size: int) -> np.ndarray | None:
    """Return the five points of a crop, (5, 2), which lie in it or near it; None where none are known."""
    if given is None:
        return None
    points = np.array(given, np.float64)
    if points.shape != (5, 2) or not (np.abs(points) <= 2 * size).all():  # refuses NaN too
        raise ValueError('points are no five points of a face')
    return points


def _check(name: str, x: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(x.shape) != shape or x.dtype != dtype:
        raise ValueError(f'{name} is {x.dtype} {tuple(x.shape)}')
    if dtype.is_floating_point and not torch.isfinite(x).all():
        raise ValueError(f'{name} holds numbers that are not finite')
