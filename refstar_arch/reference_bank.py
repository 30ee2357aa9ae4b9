"""Encoded references of one person: computed once, used for every photo and frame.

Axis letters: b batch, n references, c channels, h w feature size, H W image size.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from refstar.utils.errors import RefStarError


@dataclass
class EncodedReferences:
    """References of one forward pass, encoded in one or more parts along n.

    The iterables may be lazy and are read once: with several parts, only one part is in memory at a time.

    Attributes:
        match (Iterable[list[Tensor]]): of each part, what ``RefSel.encode_ref`` returns.
        taps (Iterable[dict[int, Tensor]]): of each part, features by resolution, each (b, n, c, r, r).
        context (Iterable[Tensor | None]): of each part, tokens (b, n, t, d); None without a composite context.
        valid (Tensor): bool, (b, n), of all parts.
        mask (Tensor | None): given selection of all parts, (b, n, 1, H, W) in [0, 1]; None: RefSel decides.
    """

    match: Iterable[list[Tensor]]
    taps: Iterable[dict[int, Tensor]]
    context: Iterable[Tensor | None]
    valid: Tensor
    mask: Tensor | None

    def one_by_one(self) -> Iterator['EncodedReferences']:
        """Yield every reference alone. Each part must hold one reference."""
        for i, (match, taps, context) in enumerate(zip(self.match, self.taps, self.context, strict=False)):
            mask = None if self.mask is None else self.mask[:, i : i + 1]
            yield EncodedReferences([match], [taps], [context], self.valid[:, i : i + 1], mask)


@dataclass
class ReferenceBank:
    """Everything that :class:`RefSTAR` needs of the references.

    Attributes:
        match (list[Tensor]): features for selection and correspondence, each (b, n, c, h, w).
        taps (dict[int, Tensor]): features for the transfer by resolution, each (b, n, c, r, r).
        valid (Tensor): bool, (b, n); False for padding.
        mask (Tensor | None): the selection it was made with, (b, n, 1, H, W) in [0, 1]; None: RefSel decides.
        context (Tensor | None): tokens of :class:`CompositeContext`, (b, n, t, d).
        network (str): fingerprint of the network that made it; '' skips the check.
    """

    match: list[Tensor]
    taps: dict[int, Tensor]
    valid: Tensor
    mask: Tensor | None
    context: Tensor | None
    network: str

    def apply(self, change: Callable[[Tensor], Tensor]) -> 'ReferenceBank':
        """Return a bank with every tensor changed by one function."""
        return replace(
            self,
            match=[change(x) for x in self.match],
            taps={r: change(x) for r, x in self.taps.items()},
            valid=change(self.valid),
            mask=None if self.mask is None else change(self.mask),
            context=None if self.context is None else change(self.context),
        )

    def reference(self, i: int) -> 'ReferenceBank':
        """Return the bank of reference ``i`` alone, without a copy."""
        return self.apply(lambda x: x[:, i : i + 1])

    def expand(self, batch: int) -> 'ReferenceBank':
        """Return the bank of one person for a batch of photos of that person, without a copy.

        Raises:
            RefStarError: the bank holds several people, but not as many as there are photos.
        """
        if self.valid.shape[0] == batch:
            return self
        if self.valid.shape[0] != 1:
            raise RefStarError(f'reference bank of {self.valid.shape[0]} people used for a batch of {batch} photos')
        return self.apply(lambda x: x.expand(batch, *x.shape[1:]))

    def encoded(self, one_by_one: bool) -> EncodedReferences:
        """Return the bank as references of a forward pass: in one part, or in one part per reference."""
        parts = [self.reference(i) for i in range(self.valid.shape[1])] if one_by_one else [self]
        match, taps, context = ([getattr(part, name) for part in parts] for name in ('match', 'taps', 'context'))
        return EncodedReferences(match, taps, context, self.valid, self.mask)


def fingerprint_of(description: str, encoders: Iterable[nn.Module]) -> str:
    """Hash a description and the weights of encoders: 16 hexadecimal digits."""
    digest = hashlib.sha256(description.encode())
    for p in (p for encoder in encoders for p in encoder.parameters()):
        digest.update(p.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
