"""What a photo still shows stays its own, octave by octave.

`keep_photo`: an octave that a restorer hardly changes is the photo's; the photo knows it better. `keep_known`:
references give only the detail that the photo alone does not. Without references, a network that does not invent draws
an octave as strongly as with them where the photo shows it, and weakly where it does not. This project's own.

Axis letters: b batch, H W image size.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .layers import enlarge, resize
from .multi_reference import image_of, with_image

GRIDS = (128, 64, 32, 16, 8)  # cells a side: each octave is what its grid does not show and the one before does


def split_octaves(x: Tensor) -> list[Tensor]:
    """Split images (b, c, H, W) into octaves that sum to them, fine to coarse; the last one is the rest."""
    size = x.shape[-2:]
    shown = [x, *(enlarge(resize(x, (grid, grid)), size) for grid in GRIDS if grid < min(size))]
    return [fine - coarse for fine, coarse in pairwise(shown)] + shown[-1:]


def octave_strengths(image: Tensor, where: Tensor) -> Tensor:
    """Measure each octave of images (b, 3, H, W) under weights (b, 1, H, W): squares, shape (octaves, b)."""
    octaves = split_octaves(image.float().mean(1, keepdim=True))[:-1]
    return torch.stack([(where * octave.square()).mean((1, 2, 3)) for octave in octaves]) + 1e-12


def keep_photo(restored: Tensor, photo: Tensor, limits: tuple[float, float, float]) -> Tensor:
    """Leave away corrections of octaves that are small: they change what the photo shows, and mend next to nothing.

    Args:
        restored (Tensor): images (b, 3, H, W), RGB in [-1, 1].
        photo (Tensor): what they were made of, the same shape and range.
        limits (tuple): root mean square at which half of a correction is left away: the smaller of a share of the
            photo's in this octave, and a value, in units of the range [0, 1]. The third number is a factor on both in
            the octave between 64 and 32 cells a side: there small corrections cost a face most of its identity.

    Returns:
        Tensor: ``photo`` with the rest of the correction; bit for bit ``photo`` where nothing was corrected.
    """
    share, value, factor = limits
    kept, octaves = torch.zeros_like(photo), [split_octaves(x) for x in (restored.float() - photo, photo.float())]
    for number, (change, seen) in enumerate(zip(*octaves, strict=True)):
        power, shown = (octave.square().mean((1, 2, 3), keepdim=True) for octave in (change, seen))
        limit = (share**2 * shown).clamp_max((2 * value) ** 2)
        if number == len(octaves[0]) - 4:  # after it come two octaves and the rest
            limit = factor**2 * limit
        kept = kept + power / (power + limit + 1e-12) * change
    return photo + kept.type_as(photo)


def keep_known(restored: Any, plain: Any, alpha: Tensor, limits: tuple[float, float]) -> Any:
    """Keep the octaves that a photo, restored without references, has already.

    Args:
        restored: a backbone's output with references: images (b, 3, S, S), RGB in any range, or a tuple that begins
            with them.
        plain: the same without. The backbone must draw no noise.
        alpha (Tensor): share of the references, (b, 1, H, W) in [0, 1]: where octaves are measured.
        limits (tuple): strength of an octave of ``plain``, relative to that of ``restored``, up to which it is taken
            from ``restored``, and from which it is that of ``plain``. Between them it is mixed.

    Returns:
        ``restored`` less what is known; bit for bit ``plain`` where both are equal.
    """
    image, plain = image_of(restored), image_of(plain)
    low, high = limits
    ratio = (octave_strengths(plain, alpha) / octave_strengths(image, alpha)).sqrt()
    # An octave is known if the next finer one begins to be; the finest of all is noise as often as detail.
    ratio = torch.cat([ratio[1:2], ratio[1:2], (ratio[2:] + ratio[1:-1]) / 2]) if len(ratio) > 1 else ratio
    known = ((ratio - low) / (high - low)).clamp(0, 1)[:, :, None, None, None]
    octaves = split_octaves(image - plain)[:-1]
    return with_image(restored, image - sum(share * octave for share, octave in zip(known, octaves, strict=True)))
