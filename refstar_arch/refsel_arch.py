"""RefSel: predicts which regions of a reference may be used for a degraded photo.

Axis letters: b batch, n references, m = b * n, c channels, h w feature size, H W image size.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refstar.utils.archs import register_arch
from refstar.utils.errors import RefStarError

from .correspondence import Match, MatchEncoder, Matcher
from .layers import ResBlock, act, repeat_refs, resize, resize_refs, split_refs, warp
from .person_check import PersonCheck, both

FINE = 2  # stride of the mask before it is resized to the photo


class SelectionHead(nn.Module):
    """Compare a reference with the degraded photo, warped into its coordinates, and mark what both show.

    The part of ``fine_channels``, at stride 2, draws the outline.
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
        """Predict mask logits (m, 1, H/2, W/2) from features (m, c, h, w) and images (m, 3, H, W), m = b * n."""
        back, confidence = match.back.flatten(0, 1), match.back_confidence.flatten(0, 1)
        x = self.body(self.inp(torch.cat([ref, warp(lq, back), back, confidence], 1)))
        x = x + self.person(x.mean((2, 3)))[:, :, None, None]
        x = self.decide(x)
        fine = F.pixel_unshuffle(ref_image, FINE)
        size = fine.shape[-2:]
        x = torch.cat([resize(self.up(act(x)), size), fine, warp(lq_image, resize(back, size))], 1)
        return self.out(act(self.fine(self.fine_in(x))))


@register_arch
class RefSel(nn.Module):
    """Reference selection: predict from the *degraded* photo which regions of a reference may be used.

    The same features also give the correspondence (:class:`~refstar.correspondence.Match`): one network answers "what"
    and "where". The architecture is this project's own.

    Args:
        size (int): working size in pixels; photos are resized to it, the mask is resized back. A multiple of 4.
            Default: 128.
        channels (int): width. Default: 48.
        photometric (bool): the correspondence sees the steps of :mod:`~refstar.lucas_kanade`. Default: True.
        person (dict | None): arguments of :class:`~refstar.person_check.PersonCheck`: of a reference that shows
            another person nothing is selected. None: references are judged by looks alone.
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
        """Encode references (b, n, 3, H, W), RGB in [-1, 1], for use with any photo.

        Returns:
            list[Tensor]: the references at the working size and their features, each (b, n, c, h, w); with ``person``
            their embeddings too, (b, n, d).
        """
        small = resize_refs(refs, (self.size, self.size))
        features = self.ref_encoder(small.flatten(0, 1))
        embedding = [] if self.person is None else [self.person.encode_ref(refs)]
        return [small, split_refs(features, refs.shape[1]), *embedding]

    def predict(self, lq: Tensor, encoded: list[Tensor]) -> tuple[Tensor, Match]:
        """Compare degraded photos (b, 3, H, W) with references from :meth:`encode_ref`.

        Returns:
            tuple: mask logits (b, n, 1, size/2, size/2) in reference coordinates, and the correspondence.
        """
        image, features, *embedding = encoded
        n = image.shape[1]
        small = resize(lq, (self.size, self.size))
        lq_features = self.lq_encoder(small)
        match = self.matcher(lq_features, features, small, image)
        repeated = [repeat_refs(x, n) for x in (lq_features, small)]
        logits = self.head(match, repeated[0], features.flatten(0, 1), repeated[1], image.flatten(0, 1))
        logits = split_refs(logits, n)
        if embedding:
            match.person = self.person(lq, *embedding)
            logits = both(logits, match.person.logits[:, :, None, None, None])
        return logits, match

    def select(
        self,
        lq: Tensor,
        encoded: Iterable[list[Tensor]],
        size: tuple[int, int],
        valid: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, Any]:
        """Compute selection masks and correspondence, and warp the masks into LQ coordinates.

        Args:
            lq (Tensor): degraded face, (b, 3, H, W), RGB in [-1, 1].
            encoded (Iterable): results of :meth:`encode_ref`, in one or more parts along n.
            size: (H, W) of the masks.
            valid (Tensor | None): bool, (b, n); where it is False the mask is all zero. None: all are valid.
            mask (Tensor | None): selection to use in place of the prediction, (b, n, 1, H, W) in [0, 1].

        Returns:
            dict: ``mask`` (b, n, 1, H, W) in reference coordinates; ``mask_logits`` (the same shape, before the
            sigmoid; None if the mask was given); ``carried`` (b, n, 1, H, W), the masks in LQ coordinates; ``flow``
            (b, n, 2, h, w); ``mass`` (b, n, 1, h, w), see :class:`Match`; and ``match`` (None if there was more than
            one part: the attention is what takes the memory).
        """
        logits, flow, mass, match = [], [], [], None
        for part in encoded:
            logit, found = self.predict(lq, part)
            match = None if logits else found
            logits.append(logit), flow.append(found.flow), mass.append(found.mass)
        logits, flow, mass = resize_refs(torch.cat(logits, 1), size), torch.cat(flow, 1), torch.cat(mass, 1)
        given, mask = mask is not None, logits.sigmoid() if mask is None else mask
        if valid is not None:
            mask = mask * valid[:, :, None, None, None]
        return {
            'mask': mask,
            'mask_logits': None if given else logits,
            'carried': warp_masks(mask, flow),
            'flow': flow,
            'mass': mass,
            'match': match,
        }

    def forward(
        self, lq: Tensor, refs: Tensor, ref_valid: Tensor | None = None, return_aux: bool = False
    ) -> Tensor | tuple[Tensor, dict]:
        """Predict the selection mask.

        Args:
            lq (Tensor): degraded face, shape (b, 3, H, W), RGB in [-1, 1].
            refs (Tensor): references, shape (b, n, 3, H, W), RGB in [-1, 1].
            ref_valid (Tensor | None): bool, shape (b, n); False for padding, whose mask is all zero. None: all valid.
            return_aux (bool): also return the dict of :meth:`select`. Default: False.

        Returns:
            Tensor: mask in [0, 1], shape (b, n, 1, H, W), in the reference's coordinates.
        """
        aux = self.select(lq, [self.encode_ref(refs)], refs.shape[-2:], ref_valid)
        return (aux['mask'], aux) if return_aux else aux['mask']


def warp_masks(mask: Tensor, flow: Tensor) -> Tensor:
    """Warp masks (b, n, 1, H, W) into LQ coordinates by a flow (b, n, 2, h, w); 0 where it leaves the reference."""
    flow = resize_refs(flow, mask.shape[-2:])
    warped = warp(mask.flatten(0, 1), flow.flatten(0, 1), padding='zeros')
    return split_refs(warped, mask.shape[1])
