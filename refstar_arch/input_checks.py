"""Checks of the arguments of RefSTAR.

Only shapes, types and Python numbers are checked. Reading the content of a tensor would make the host wait for the
device, and ``torch.export`` cannot do it.

Axis letters: b batch, n references, H W image size.
"""

import math
from typing import Any

import torch
from torch import Tensor

from refstar.utils.errors import RefStarError

COMBINE = ('concat', 'guidance')


def check_settings(strength: Any, chunk: Any, combine: Any, guidance_scale: Any, where: str = '') -> None:
    """Check settings of ``RefSTAR.forward``.

    Args:
        strength, chunk, combine, guidance_scale: its arguments; the content of a tensor is not checked.
        where: put before the name of the setting, e.g. 'val:' for an option file.

    Raises:
        RefStarError: names the setting, its value and its range.
    """

    def number(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

    if combine not in COMBINE:
        raise RefStarError(f'{where}combine is {combine!r}; known are {", ".join(COMBINE)}')
    if not isinstance(strength, Tensor) and not (number(strength) and 0 <= strength <= 1):
        raise RefStarError(f'{where}strength is {strength!r}; it is a number from 0 (the backbone alone) to 1')
    if chunk is not None and not (isinstance(chunk, int) and chunk >= 1 and chunk is not True):
        raise RefStarError(f'{where}chunk is {chunk!r}; it is how many references are encoded at a time: 1 or more')
    if not number(guidance_scale):
        raise RefStarError(f'{where}guidance_scale is {guidance_scale!r}; it is a finite number')


def check_ranges(value_range: Any, known: Any) -> None:
    """Check arguments of ``RefSTAR``: black and white, and the limits of :func:`~refstar.known_bands.keep_known`.

    Raises:
        RefStarError: names the argument and an example.
    """
    if len(value_range) != 2 or value_range[0] == value_range[1]:
        raise RefStarError(f'RefSTAR: value_range is {value_range}; give two values, of black and of white: [0, 1]')
    if known is not None and not (len(known) == 2 and 0 <= known[0] < known[1]):
        raise RefStarError(f'RefSTAR: known is {known}; give two rising limits, [0.75, 0.95], or leave it out')


def check_references(size: int, refs: Tensor, ref_valid: Tensor | None, mask: Tensor | None) -> None:
    """Check shapes and types of references, validity and masks for ``RefSTAR.encode``.

    Raises:
        RefStarError: names the given and the expected form.
    """
    if refs.ndim != 5 or refs.shape[2] != 3:
        raise RefStarError(f'references of shape {tuple(refs.shape)}; expected (b, n, 3, {size}, {size})')
    b, n, _, h, w = refs.shape
    if n == 0:
        raise RefStarError('references: n is 0; leave refs out, or mark padding by ref_valid False')
    if (h, w) != (size, size):
        raise RefStarError(f'references of {w}x{h} pixels; this network takes {size}x{size}')
    if ref_valid is not None:
        if ref_valid.dtype != torch.bool:
            raise RefStarError(f'ref_valid of type {ref_valid.dtype}; expected torch.bool')
        if ref_valid.shape != (b, n):
            raise RefStarError(f'ref_valid of shape {tuple(ref_valid.shape)}; expected {(b, n)}')
    if mask is not None and mask.shape != (b, n, 1, h, w):
        raise RefStarError(f'mask of shape {tuple(mask.shape)}; expected {(b, n, 1, h, w)}')


def check_photos(size: int, lq: Tensor, refs: Tensor | None, strength: float | Tensor) -> None:
    """Check that photos fit the references, the strength and the network's ``lq_size``.

    Raises:
        RefStarError: as :func:`check_references`.
    """
    if lq.ndim != 4:
        raise RefStarError(f'photos of shape {tuple(lq.shape)}; expected (b, 3, {size}, {size})')
    b, _, h, w = lq.shape  # not len(): torch.export takes that as a constant
    if (h, w) != (size, size):
        raise RefStarError(f'photo of {w}x{h} pixels; this network takes {size}x{size}')
    if refs is not None and refs.shape[0] != b:
        raise RefStarError(f'references of {refs.shape[0]} people for {b} photos')
    if isinstance(strength, Tensor) and strength.shape != (b,):
        raise RefStarError(f'strength of shape {tuple(strength.shape)}; expected a number or shape {(b,)}')
