"""What a user may say about how faces are restored."""

from collections.abc import Sequence
from dataclasses import dataclass

from refstar.utils.errors import RefStarError

from .identity_check import POLICIES
from .references import Reference
from .regions import check_names


@dataclass(frozen=True)
class Settings:
    """How faces are restored.

    Args:
        strength: of the references, 0 (the backbone alone) to 1.
        fidelity: CodeFormer's w, 0 to 1; None: the backbone's own.
        num_refs: most references of a face.
        colour: the colours of the photo are kept under references of other light.
        on_wrong_identity: `warn` (use them all the same), `drop` or `refuse` references that are likely somebody else.
        use: parts that references may give (`regions.NAMES`); none: all.
        keep: parts of references that are not used: there the face is the backbone's.
        mask_threshold: the selection is 1 from here up, else 0; None: as the network gives it.

    Raises:
        RefStarError: a value is out of its range.
    """

    strength: float = 1.0
    fidelity: float | None = None
    num_refs: int = 4
    colour: bool = True
    on_wrong_identity: str = 'warn'
    use: Sequence[str] = ()
    keep: Sequence[str] = ()
    mask_threshold: float | None = None

    def __post_init__(self) -> None:
        for key in ('strength', 'fidelity', 'mask_threshold'):
            value = getattr(self, key)
            if value is not None and not 0 <= value <= 1:
                raise RefStarError(f'{key} must be 0 to 1, got {value}')
        if self.num_refs < 1:
            raise RefStarError(f'num_refs must be at least 1, got {self.num_refs}')
        if self.on_wrong_identity not in POLICIES:
            raise RefStarError(f'on_wrong_identity is {self.on_wrong_identity!r}; known are {", ".join(POLICIES)}')
        check_names(self.use, 'use')
        check_names(self.keep, 'keep')

    def edits(self, refs: Sequence[Reference]) -> bool:
        """Whether the network's own selection is changed."""
        by_hand = any(ref.mask is not None for ref in refs)
        return bool(self.use or self.keep or self.mask_threshold is not None or by_hand)
