"""Embeddings of many photos by a face-recognition network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from refstar.data.images import ImageStore
from refstar.identity_arch import IdentityEncoder
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor

SIZE = 256  # photos are brought to one size, so that they fit in a batch; the networks see 112 to 224 pixels of them
BATCH = 32


class _Photos(Dataset):
    """(image (3, SIZE, SIZE) RGB in [-1, 1], error) of every photo; the error is '' where it could be read."""

    def __init__(self, photos: Sequence[Path]) -> None:
        self.photos, self.store = photos, ImageStore(SIZE, resize=True)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        try:
            return to_tensor(self.store(self.photos[index])), ''
        except RefStarError as error:
            return torch.zeros(3, SIZE, SIZE), str(error)


def embed(
    photos: Sequence[Path], network: str, weights: str, prepare: str | None, jobs: int
) -> tuple[list[Path], np.ndarray, list[str], str]:
    """Embeds FFHQ-aligned photos.

    Args:
        photos: files.
        network, weights, prepare: of `IdentityEncoder`.
        jobs: processes that read.

    Returns:
        The photos that could be read, their embeddings (n, d) float32 of length 1, the errors of the others, and the
        sha256 of the weights.

    Raises:
        RefStarError: the network cannot be built, or no photo could be read.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    encoder = IdentityEncoder(network, weights, prepare).to(device).eval()
    loader = DataLoader(_Photos(photos), BATCH, num_workers=jobs if jobs > 1 else 0)
    kept, rows, errors, seen = [], [], [], 0
    with torch.inference_mode(), tqdm(total=len(photos), desc='embed', unit='image', disable=None) as bar:
        for images, problems in loader:
            good = torch.tensor([not problem for problem in problems])
            kept += [photos[seen + i] for i in range(len(problems)) if good[i]]
            seen += len(problems)
            errors += [problem for problem in problems if problem]
            if good.any():
                rows.append(encoder(images[good].to(device)).cpu().numpy())
            bar.update(len(problems))
    if not kept:
        raise RefStarError(f'no photo could be read: {errors[0] if errors else "there is none"}')
    return kept, np.concatenate(rows).astype(np.float32), errors, encoder.sha256
