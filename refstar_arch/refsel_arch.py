"""RefSel: which regions of a reference may be used for this degraded photo.

Axis letters: b batch, n references, m = b * n, c channels, h w feature size, H W image size.
"""

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from refstar.utils.errors import RefStarError

from .correspondence import Match, MatchEncoder, Matcher
from .layers import ResBlock, act, resize, resize_slots, to_slots, warp, with_slots
from .person_check import PersonCheck, both

FINE = 2  # stride of the mask before it is resized to the photo


class SelectionHead(nn.Module):
    """Compares a reference with the degraded photo brought into its coordinates, and marks what they share.

    Args:
        channels (int): channels of the matching features.
        fine_channels (int): width of the part at stride 2, which draws the outline.
    """

    def __init__(self, channels: int, fine_channels: int = 16) -> None:
        super().__init__()
        self.inp = nn.Conv2d(2 * channels + 3, channels, 3, padding=1)
        self.body = nn.Sequential(ResBlock(channels, 1), ResBlock(channels, 2))
        self.person = nn.Sequential(nn.Linear(channels, channels), nn.LeakyReLU(0.2), nn.Linear(channels, channels))
        self.decide = ResBlock(channels, 4)
        self.up = nn.Conv2d(channels, fine_channels, 1)
        self.fine_in = nn.Conv2d(fine_channels + 3 * FINE**2 + 3, fine_channels, 3, padding=1)
        self.fine = ResBlock(fine_channels)
        self.out = nn.Conv2d(fine_channels, 1, 3, padding=1)

    def forward(self, match: Match, lq: Tensor, ref: Tensor, lq_image: Tensor, ref_image: Tensor) -> Tensor:
        """Features (m, c, h, w) and images (m, 3, H, W), m = b*n -> mask logits (m, 1, H/2, W/2)."""
        back, likeness = match.back.flatten(0, 1), match.likeness.flatten(0, 1)
        x = self.body(self.inp(torch.cat([ref, warp(lq, back), back, likeness], 1)))
        x = x + self.person(x.mean((2, 3)))[:, :, None, None]
        x = self.decide(x)
        fine = F.pixel_unshuffle(ref_image, FINE)
        size = fine.shape[-2:]
        x = torch.cat([resize(self.up(act(x)), size), fine, warp(lq_image, resize(back, size))], 1)
        return self.out(act(self.fine(self.fine_in(x))))


@ARCH_REGISTRY.register()
class RefSel(nn.Module):
    """Reference selection: predicts from the *degraded* photo which regions of a reference may be used.

    The same features also give the correspondence (:class:`~refstar.correspondence.Match`), so that one network answers
    "what" and "where". The architecture is this project's own.

    Args:
        size (int): working size in pixels; photos are resized to it, the mask is resized back. A multiple of 4.
            Default: 128.
        channels (int): width. Default: 48.
        photometric (bool): the correspondence sees the steps of :mod:`~refstar.lucas_kanade`. Default: True.
        person (dict | None): arguments of :class:`~refstar.person_check.PersonCheck`: of a reference that shows
            somebody else nothing is selected. None: it is judged by looks alone.
    """

    option_blocks = {'person': PersonCheck}

    def __init__(
        self, size: int = 128, channels: int = 48, photometric: bool = True, person: dict | None = None
    ) -> None:
        super().__init__()
        if size % 4:
            raise RefStarError(f'RefSel: size must be a multiple of 4, got {size}')
        self.size = size
        self.lq_encoder = MatchEncoder(channels)
        self.ref_encoder = MatchEncoder(channels)
        self.matcher = Matcher(channels, photometric)
        self.head = SelectionHead(channels)
        self.person = PersonCheck(**person) if person else None

    def encode_ref(self, refs: Tensor) -> list[Tensor]:
        """References (b, n, 3, H, W), RGB in [-1, 1] -> what :meth:`compare` needs of them, reusable for any photo.

        Returns:
            list[Tensor]: the references at the working size and their features, each (b, n, c, h, w); with ``person``
            their embeddings too, (b, n, d).
        """
        small = resize_slots(refs, (self.size, self.size))
        features = self.ref_encoder(small.flatten(0, 1))
        embedding = [] if self.person is None else [self.person.encode_ref(refs)]
        return [small, with_slots(features, refs.shape[1]), *embedding]

    def compare(self, lq: Tensor, ref: list[Tensor]) -> tuple[Tensor, Match]:
        """Compares degraded photos (b, 3, H, W) with encoded references.

        Returns:
            tuple: mask logits (b, n, 1, size/2, size/2) in reference coordinates, and the correspondence.
        """
        image, features, *embedding = ref
        n = image.shape[1]
        small = resize(lq, (self.size, self.size))
        encoded = self.lq_encoder(small)
        match = self.matcher(encoded, features, small, image)
        repeated = [to_slots(x, n) for x in (encoded, small)]
        logits = self.head(match, repeated[0], features.flatten(0, 1), repeated[1], image.flatten(0, 1))
        logits = with_slots(logits, n)
        if embedding:
            match.person = self.person(lq, *embedding)
            logits = both(logits, match.person.logits[:, :, None, None, None])
        return logits, match

    def forward(
        self, lq: Tensor, refs: Tensor, ref_valid: Tensor | None = None, return_aux: bool = False
    ) -> Tensor | tuple[Tensor, dict]:
        """Predicts the selection mask.

        Args:
            lq (Tensor): degraded face, shape (b, 3, H, W), RGB in [-1, 1].
            refs (Tensor): references, shape (b, n, 3, H, W), RGB in [-1, 1].
            ref_valid (Tensor | None): bool, shape (b, n); padding slots are False and get an all-zero mask.
            return_aux (bool): also return ``{'mask_logits', 'match', 'carried'}``. Default: False.

        Returns:
            Tensor: mask in [0, 1], shape (b, n, 1, H, W), in the reference's coordinates.
        """
        logits, match = self.compare(lq, self.encode_ref(refs))
        logits = resize_slots(logits, refs.shape[-2:])
        mask = logits.sigmoid()
        if ref_valid is not None:
            mask = mask * ref_valid[:, :, None, None, None]
        if not return_aux:
            return mask
        return mask, {'mask_logits': logits, 'match': match, 'carried': carry(mask, match.flow)}


def carry(mask: Tensor, flow: Tensor) -> Tensor:
    """Brings selection masks into LQ coordinates.

    Args:
        mask (Tensor): in reference coordinates, shape (b, n, 1, H, W).
        flow (Tensor): sampling positions for the LQ grid, shape (b, n, 2, h, w).

    Returns:
        Tensor: shape (b, n, 1, H, W); 0 where the flow leaves the reference.
    """
    flow = resize_slots(flow, mask.shape[-2:])
    carried = warp(mask.flatten(0, 1), flow.flatten(0, 1), padding='zeros')
    return with_slots(carried, mask.shape[1])
