"""Reference bank files (`.refbank`): the encoded references of one person.

A bank is a safetensors file: tensors and text, no code, so that an untrusted one can be opened. Its header holds the
version, the network's fingerprint, and name and points of every reference. Embeddings and attributes, which decide who
is shown and what is chosen, are not in the file: they are measured again from the crops.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError
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

Coordinate = Annotated[float, Field(ge=-1e5, le=1e5)]  # refuses NaN too


class ReferenceHeader(BaseModel, strict=True):
    """Name of a reference, and its five points in pixels of its crop where they are known."""

    name: str
    points: (
        Annotated[
            list[Annotated[list[Coordinate], Field(min_length=2, max_length=2)]], Field(min_length=5, max_length=5)
        ]
        | None
    )


class BankHeader(BaseModel, strict=True):
    """Text of a bank."""

    person: str
    references: Annotated[list[ReferenceHeader], Field(min_length=1, max_length=MAX_REFERENCES)]


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
    references = [
        ReferenceHeader(name=Path(ref.name).name, points=None if ref.points is None else ref.points.tolist())
        for ref in refs
    ]
    about = BankHeader(person=person.name, references=references).model_dump_json()
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
        about = BankHeader.model_validate_json(header.get('about', ''))
        bank = _bank_of(tensors, len(about.references), net, device)
        crops = list(tensors['crops'].numpy())
    except (KeyError, ValueError, RuntimeError) as error:
        error = f'{error.error_count()} wrong values in its header' if isinstance(error, ValidationError) else error
        raise RefStarError(f'{path}: is a broken reference bank ({error}); make it again from the photos') from None
    embeddings = [None] * len(crops) if checker is None else checker.embed(crops, False)
    references = []
    for i, name in enumerate(unique(printable(one.name) for one in about.references)):
        points = about.references[i].points
        points = None if points is None else np.array(points)
        attributes = measure_attributes(crops[i], points)
        references.append(
            Reference(f'{path.name}/{name}', crops[i], attributes, points, embeddings[i], None, bank.reference(i))
        )
    return Person(printable(about.person), references)


def _bank_of(tensors: dict[str, torch.Tensor], count: int, net: nn.Module, device: torch.device) -> ReferenceBank:
    """Return the features of a bank; KeyError or ValueError where the network would make others."""
    with torch.inference_mode():  # an encoded grey picture has the shapes and types that are expected
        grey = torch.full((1, 1, 3, net.size, net.size), sum(net.value_range) / 2, device=device)
        expected = net.encode(grey)
    for name, like in _tensors_of(expected).items():
        _check(name, tensors[name], (1, count, *like.shape[2:]), like.dtype)
    _check('crops', tensors['crops'], (count, net.size, net.size, 3), torch.uint8)
    return ReferenceBank(
        [tensors[f'match.{i}'].to(device) for i in range(len(expected.match))],
        {r: tensors[f'taps.{r}'].to(device) for r in expected.taps},
        torch.ones(1, count, dtype=torch.bool, device=device),
        None,
        None if expected.context is None else tensors['context'].to(device),
        net.fingerprint(),
    )


def _tensors_of(bank: ReferenceBank) -> dict[str, torch.Tensor]:
    """Return the features of a bank by their names in the file."""
    tensors = {f'match.{i}': x for i, x in enumerate(bank.match)} | {f'taps.{r}': x for r, x in bank.taps.items()}
    return tensors if bank.context is None else tensors | {'context': bank.context}


def _check(name: str, x: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(x.shape) != shape or x.dtype != dtype:
        raise ValueError(f'{name} is {x.dtype} {tuple(x.shape)}')
    if dtype.is_floating_point and not torch.isfinite(x).all():
        raise ValueError(f'{name} holds numbers that are not finite')
