"""Identity scores: cosines between face embeddings. Name the network with every figure; use one not trained with.

ID-GT measures whether the output is the right person, ID-Ref whether it looks like the references. An ID-Ref far above
that of two photos of one person is copying.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from refstar.identity_arch import IdentityEncoder
from refstar.utils.image_files import from_basicsr


@lru_cache(maxsize=4)
def identity_network(network: str, weights: str, device: str) -> IdentityEncoder:
    """Load a network; one per name, file and device is kept in this process."""
    return IdentityEncoder(network, weights).to(device)


@torch.no_grad()
def cosines(img: np.ndarray, others: Sequence[np.ndarray], network: str, weights: str, device: str) -> list[float]:
    """Compute the cosines of a face to others; FFHQ-aligned squares of any sizes, uint8 HWC BGR."""
    encoder = identity_network(network, weights, device)
    first, *rest = (encoder(from_basicsr(x).to(device))[0] for x in (img, *others))
    return [torch.dot(first, x).item() for x in rest]


@METRIC_REGISTRY.register()
def calculate_id_gt(
    img: np.ndarray, img2: np.ndarray, network: str, weights: str, device: str = 'cpu', **kwargs
) -> float:
    """Compute the cosine between output and ground truth, in [-1, 1] (higher is better).

    Args:
        img, img2 (ndarray): FFHQ-aligned, uint8 (H, H, 3) BGR in [0, 255].
        network, weights (str): name and file, see :class:`~refstar.identity_arch.IdentityEncoder`.
    """
    return cosines(img, [img2], network, weights, device)[0]


@METRIC_REGISTRY.register()
def calculate_id_ref(
    img: np.ndarray, refs: Sequence[np.ndarray], network: str, weights: str, device: str = 'cpu', **kwargs
) -> float:
    """Compute the mean cosine between output and the person's references; NaN without references.

    Arguments as of :func:`calculate_id_gt`; ``refs`` are images like ``img``.
    """
    values = cosines(img, refs, network, weights, device)
    return sum(values) / len(values) if values else float('nan')


@METRIC_REGISTRY.register()
def calculate_id_wrong(
    img: np.ndarray, wrong_refs: Sequence[np.ndarray], network: str, weights: str, device: str = 'cpu', **kwargs
) -> float:
    """Compute the mean cosine between output and the references of the *wrong* person, in every arm.

    What the arm "wrong" has more than the arm "none" was copied. Arguments and result as of :func:`calculate_id_ref`.
    """
    return calculate_id_ref(img, wrong_refs, network, weights, device)
