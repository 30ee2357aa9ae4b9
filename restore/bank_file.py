"""Reference bank files (`.refbank`): the encoded references of one person.

A bank is a safetensors file: tensors and text, no code, so that an untrusted one can be opened. Its header holds the
network's fingerprint, and name and points of every reference. Embeddings and attributes, which decide who is shown and
what is chosen, are not in the file: they are measured again from the crops.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from refstar.data.people_clusters import farthest_first
from refstar.reference_bank import ReferenceBank
from refstar.utils.checkpoint import load_tensors, save_tensors
from refstar.utils.errors import RefStarError

from .engine import bank_of, encode, join, tensors_of
from .faces import FaceAttributes, Person, Reference
from .identity_check import IdentityChecker
from .input_files import printable, unique

FORMAT = 'refstar.refbank.1'
MAX_REFERENCES = 64  # in a bank: each takes some megabytes


def most_diverse(person: Person, count: int) -> Person:
    """Keep at most `count` references: the most different ones by embedding, without embeddings the sharpest."""
    refs = person.references
    if len(refs) <= count:
        return person
    if any(ref.embedding is None for ref in refs):
        kept = set(sorted(range(len(refs)), key=lambda i: -refs[i].attributes.sharpness)[:count])
    else:
        kept = set(farthest_first(np.stack([ref.embedding for ref in refs]), count))
    left = {ref.name: f'{count} others show more' for i, ref in enumerate(refs) if i not in kept}
    return Person(person.name, [refs[i] for i in sorted(kept)], person.dropped | left)


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
    tensors = _features(bank) | {'crops': torch.from_numpy(np.stack([ref.crop for ref in refs]))}
    points = [None if ref.points is None else ref.points.tolist() for ref in refs]
    listed = [{'name': Path(ref.name).name, 'points': own} for ref, own in zip(refs, points, strict=True)]
    header = {'about': json.dumps({'person': person.name, 'references': listed})}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RefStarError(f'cannot write {path}: {error}') from None
    save_tensors(tensors, {'refbank': FORMAT, 'network': bank.network, **header}, path)


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
        about = json.loads(header['about'])
        names = unique(printable(one['name']) for one in about['references'])
        points = [_points(one['points'], net.size) for one in about['references']]
        bank, crops = _bank_of(tensors, len(names), net, device)
        person = Person(printable(about['person']), [])
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RefStarError(f'{path}: is a broken reference bank ({error}); make it again from the photos') from None
    embeddings = [None] * len(crops) if checker is None else checker.embed(crops, False)
    for i, crop in enumerate(crops):
        attributes = FaceAttributes.measure(crop, points[i])
        name, encoded = f'{path.name}/{names[i]}', bank.reference(i)
        person.references.append(Reference(name, crop, attributes, points[i], embeddings[i], None, encoded))
    return person


def _bank_of(
    tensors: dict[str, Tensor], count: int, net: nn.Module, device: torch.device
) -> tuple[ReferenceBank, list[np.ndarray]]:
    """Return features and crops of a bank; KeyError or ValueError where they are not those of this network."""
    with torch.inference_mode():  # an encoded grey picture has the shapes and types that are expected
        grey = torch.full((1, 1, 3, net.size, net.size), sum(net.value_range) / 2, device=device)
        example = net.encode(grey)
    expected = {name: ((1, count, *x.shape[2:]), x.dtype) for name, x in _features(example).items()}
    expected['crops'] = (count, net.size, net.size, 3), torch.uint8
    if not 1 <= count <= MAX_REFERENCES:
        raise ValueError(f'it must hold 1 to {MAX_REFERENCES} references')
    for name, wanted in expected.items():
        x = tensors[name]
        if (tuple(x.shape), x.dtype) != wanted or not torch.isfinite(x).all():
            raise ValueError(f'{name} is {x.dtype} {tuple(x.shape)}, or not finite')
    features = {name: tensors[name].to(device) for name in expected}
    features['valid'] = torch.ones(1, count, dtype=torch.bool, device=device)
    return bank_of(features, net.fingerprint()), list(tensors['crops'].numpy())


def _features(bank: ReferenceBank) -> dict[str, Tensor]:
    """Return what of a bank is in its file; every reference there is valid, and its mask is the network's."""
    return {name: x for name, x in tensors_of(bank).items() if name not in ('valid', 'mask')}


def _points(given: object, size: int) -> np.ndarray | None:
    """Return the five points of a crop, (5, 2), which lie in it or near it; None where none are known."""
    points = None if given is None else np.array(given, np.float64)
    if points is not None and (points.shape != (5, 2) or not (np.abs(points) <= 2 * size).all()):  # refuses NaN too
        raise ValueError('points are no five points of a face')
    return points
