"""`.refbank`: one person's references, ready for a network, in one file.

The file is a safetensors file: tensors and text, no code, so that one from a stranger can be opened. Its version, the
network's fingerprint, and name and points of every reference stand in its header. What decides who is shown and what is
chosen (embeddings, traits) is not in the file: it is measured anew of the crops.
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

from .face_attributes import traits_of
from .identity_check import Guard
from .reference_batch import encode, join
from .references import Person, Reference
from .unique_names import printable, unique

FORMAT = 'refstar.refbank.1'
MOST_REFERENCES = 64  # in a bank: each takes some megabytes


def write_bank(path: Path, person: Person, net: nn.Module, device: torch.device) -> None:
    """Encodes a person's references and writes them whole or not at all.

    Raises:
        RefStarError: there are too many, or the file cannot be written.
    """
    refs = person.references
    if len(refs) > MOST_REFERENCES:
        raise RefStarError(f'{path}: {len(refs)} references; a bank holds {MOST_REFERENCES} at most (--num_refs)')
    with torch.inference_mode():
        bank = join([encode(net, replace(ref, mask=None, encoded=None), device) for ref in refs], 1)
    tensors = {f'match.{i}': x for i, x in enumerate(bank.match)} | {f'taps.{r}': x for r, x in bank.taps.items()}
    tensors['crops'] = torch.from_numpy(np.stack([ref.crop for ref in refs]))
    if bank.context is not None:
        tensors['context'] = bank.context
    about = {
        'person': person.name,
        'references': [
            {'name': Path(ref.name).name, 'points': None if ref.points is None else ref.points.tolist()} for ref in refs
        ],
    }
    header = {'refbank': FORMAT, 'network': bank.network, 'about': json.dumps(about)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RefStarError(f'cannot write {path}: {error}') from None
    save_tensors(tensors, header, path)


def read_bank(path: Path, net: nn.Module, guard: Guard | None, device: torch.device) -> Person:
    """Reads a bank and checks that it fits the network.

    Raises:
        RefStarError: no bank, of another version, or made by another network.
    """
    tensors, header = load_tensors(path)
    if header.get('refbank') != FORMAT:
        raise RefStarError(f'{path}: not a reference bank of format {FORMAT}; make it again from the photos')
    if header.get('network') != net.fingerprint():
        raise RefStarError(f'{path}: was made by another network; make it again from the photos')
    try:
        return _person(path, header, tensors, net, guard, device)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
        if isinstance(error, RefStarError):
            raise
        raise RefStarError(f'{path}: is a broken reference bank ({error}); make it again from the photos') from None


def _person(
    path: Path,
    header: dict[str, str],
    tensors: dict[str, torch.Tensor],
    net: nn.Module,
    guard: Guard | None,
    device: torch.device,
) -> Person:
    about = json.loads(header['about'])
    listed = about['references']
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_REFERENCES:
        raise ValueError(f'a bank holds 1 to {MOST_REFERENCES} references')
    if not all(isinstance(text, str) for text in (about['person'], *(one['name'] for one in listed))):
        raise ValueError('a name is no text')
    with torch.inference_mode():  # an encoded picture of zeros shows the form that everything must have
        low, high = net.value_range
        form = net.encode(torch.full((1, 1, 3, net.size, net.size), (low + high) / 2, device=device))
    count = len(listed)
    names = {f'match.{i}': x for i, x in enumerate(form.match)} | {f'taps.{r}': x for r, x in form.taps.items()}
    if form.context is not None:
        names['context'] = form.context
    for name, like in names.items():
        _check(name, tensors[name], (1, count, *like.shape[2:]), like.dtype)
    _check('crops', tensors['crops'], (count, net.size, net.size, 3), torch.uint8)
    bank = ReferenceBank(
        [tensors[f'match.{i}'].to(device) for i in range(len(form.match))],
        {r: tensors[f'taps.{r}'].to(device) for r in form.taps},
        torch.ones(1, count, dtype=torch.bool, device=device),
        None,
        None if form.context is None else tensors['context'].to(device),
        header['network'],
    )
    crops = list(tensors['crops'].numpy())
    embeddings = [None] * count if guard is None else guard.embed(crops, False)
    references = []
    for i, name in enumerate(unique(printable(one['name']) for one in listed)):
        points = _points(listed[i]['points'], net.size)
        traits = traits_of(crops[i], points)
        references.append(
            Reference(f'{path.name}/{name}', crops[i], traits, points, embeddings[i], None, bank.reference(i))
        )
    return Person(printable(about['person']), references)


def _points(given: object, size: int) -> np.ndarray | None:
    """The five points of a crop, (5, 2), which lie in it or near it; None where none are known."""
    if given is None:
        return None
    points = np.array(given, np.float64)
    if points.shape != (5, 2) or not (np.abs(points) <= 2 * size).all():  # a NaN is neither
        raise ValueError('points are no five points of a face')
    return points


def _check(name: str, x: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(x.shape) != shape or x.dtype != dtype:
        raise ValueError(f'{name} is {x.dtype} {tuple(x.shape)}')
    if dtype.is_floating_point and not torch.isfinite(x).all():
        raise ValueError(f'{name} holds numbers that are not finite')
