"""Encoded references of one person: computed once, reused for every photo and frame, saved to a file.

Axis letters: b batch, n references, c channels, h w feature size, H W image size.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from refstar.utils.checkpoint import save_atomically
from refstar.utils.errors import RefStarError

FORMAT = 'refstar.bank.2'


@dataclass
class ReferenceBank:
    """What :class:`RefSTAR` needs to know of the references.

    Attributes:
        match (list[Tensor]): features for selection and correspondence, each (b, n, c, h, w).
        taps (dict[int, Tensor]): features for the transfer by resolution, each (b, n, c, r, r).
        valid (Tensor): bool, (b, n); False for padding slots.
        mask (Tensor | None): the selection it was made with, (b, n, 1, H, W) in [0, 1]; None: RefSel decides.
        context (Tensor | None): tokens of :class:`CompositeContext`, (b, n, t, d).
        network (str): fingerprint of the network that made it.
    """

    match: list[Tensor]
    taps: dict[int, Tensor]
    valid: Tensor
    mask: Tensor | None
    context: Tensor | None
    network: str

    def apply(self, change: Callable[[Tensor], Tensor]) -> 'ReferenceBank':
        """A bank whose tensors are changed by one function."""
        return replace(
            self,
            match=[change(x) for x in self.match],
            taps={r: change(x) for r, x in self.taps.items()},
            valid=change(self.valid),
            mask=None if self.mask is None else change(self.mask),
            context=None if self.context is None else change(self.context),
        )

    def reference(self, i: int) -> 'ReferenceBank':
        """The bank of the reference ``i`` alone (no copy)."""
        return self.apply(lambda x: x[:, i : i + 1])

    def expand(self, batch: int) -> 'ReferenceBank':
        """The bank of one person for a batch of photos of that person (no copy)."""
        if self.valid.shape[0] == batch:
            return self
        if self.valid.shape[0] != 1:
            raise RefStarError(f'reference bank of {self.valid.shape[0]} people used for a batch of {batch} photos')

        return self.apply(lambda x: x.expand(batch, *x.shape[1:]))

    def save(self, path: str | Path) -> None:
        """Writes the bank to a file that :meth:`load` reads without running any code."""
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        save_atomically({'format': FORMAT, **state}, path)

    @classmethod
    def load(cls, path: str | Path, map_location: str | torch.device = 'cpu') -> 'ReferenceBank':
        """Reads a bank.

        Raises:
            RefStarError: the file is not a reference bank.
        """
        try:
            state = torch.load(path, map_location=map_location, weights_only=True)
        except FileNotFoundError:
            raise RefStarError(f'{path}: no such reference bank') from None
        except Exception as e:
            raise RefStarError(f'{path}: not a reference bank ({type(e).__name__})') from e
        if not isinstance(state, dict) or state.pop('format', None) != FORMAT:
            raise RefStarError(f'{path}: not a reference bank of format {FORMAT}; make it again from the photos')
        if set(state) != {field.name for field in fields(cls)}:
            raise RefStarError(f'{path}: is a broken reference bank; make it again from the photos')
        return cls(**state)
