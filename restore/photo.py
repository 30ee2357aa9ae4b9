"""Put a restored photo together: its background, enlarged if that is wanted (Real-ESRGAN), and the faces in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from refstar.blind_restorer import build_realesrgan
from refstar.utils.checkpoint import load_fitting, read_state_dict
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import MAX_PIXELS, Picture, refuse_large, to_image, to_tensor

from .alignment import AREAS, feather, for_scaled_photo, paste
from .faces import AlignedFace

OVERLAP = 16  # pixels around a tile that are computed and discarded: no seams


@dataclass(frozen=True)
class PhotoSettings:
    """How a restored photo is put together.

    Raises:
        RefStarError: a value is out of its range.
    """

    aligned: bool = False  # photos are aligned faces: nothing is detected or pasted
    upscale: float = 1  # factor of the sides
    background: Callable[[np.ndarray, float], np.ndarray] | None = None  # enlarges by a factor; None: Lanczos
    only_center_face: bool = False  # restore the most central face alone
    min_face: float = 0  # pixels: narrower faces stay as they are
    grey: bool = False  # the result shows no colour, not even a tint that the photo has
    paste: str = 'face'  # what is pasted, `face` or `square`, see `alignment.feather`
    batch_size: int = 1  # faces restored at a time

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RefStarError(f'--batch_size must be at least 1, got {self.batch_size}')
        if not 0.1 <= self.upscale <= 16:
            raise RefStarError(f'--upscale must be 0.1 to 16, got {self.upscale}')
        if self.paste not in AREAS:
            raise RefStarError(f'--paste {self.paste}: unknown; there are {", ".join(AREAS)}')


@dataclass(frozen=True)
class RestoredPhoto:
    """A restored photo."""

    picture: Picture  # where `area` is 0 it is the (enlarged) input, bit for bit
    faces: list[AlignedFace]  # the largest first
    area: np.ndarray  # how much of each pixel was replaced, float32 (H, W) in [0, 1]


def put_back(
    picture: Picture, faces: Sequence[AlignedFace], photo_settings: PhotoSettings = PhotoSettings()
) -> RestoredPhoto:
    """Paste restored faces into their photo, enlarged; an aligned face takes the place of its photo."""
    picture = replace(picture, grey=picture.grey or photo_settings.grey)
    photo = enlarge(picture.rgb, photo_settings)
    area = np.zeros(photo.shape[:2], np.float32)
    factor = np.array([photo.shape[1] / picture.rgb.shape[1], photo.shape[0] / picture.rgb.shape[0]])
    for face in (face for face in faces if not face.leave):
        if face.matrix is None:
            photo, area[:] = resize(face.image, photo.shape[1::-1]), 1
            continue
        matrix = for_scaled_photo(face.matrix, factor)
        mask = feather(len(face.image), photo_settings.paste)
        area = np.maximum(area, paste(photo, face.image, matrix, mask))
    restored = picture.with_rgb(photo)
    if picture.alpha is not None:
        restored = replace(restored, alpha=resize(picture.alpha, photo.shape[1::-1]))
    return RestoredPhoto(restored, list(faces), area)


def enlarge(rgb: np.ndarray, photo_settings: PhotoSettings) -> np.ndarray:
    """Return a copy of the photo at the wanted size."""
    if photo_settings.background is not None:
        return photo_settings.background(rgb, photo_settings.upscale)
    return resize(rgb.copy(), scaled(rgb, photo_settings.upscale))


def scaled(img: np.ndarray, factor: float) -> tuple[int, int]:
    """Return width and height of an image at `factor` times its sides."""
    return max(1, round(img.shape[1] * factor)), max(1, round(img.shape[0] * factor))


def resize(img: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image or a plane to (width, height)."""
    if size == img.shape[1::-1]:
        return img
    return cv2.resize(img, size, interpolation=cv2.INTER_AREA if size[0] < img.shape[1] else cv2.INTER_LANCZOS4)


# ----------------------------------------------------------------- background
class RealESRGAN:
    """Enlarge photos.

    Args:
        weights: a released file of Real-ESRGAN (RRDBNet: x2plus, x4plus, anime_6B; SRVGGNetCompact: general, anime).
        device: where it runs.
        tile: side of the tiles in pixels of the photo, to bound the memory; 0: the whole photo at once.
        max_pixels: of a photo as the network enlarges it, before it is resized to the wanted size.

    Raises:
        RefStarError: the file is missing or of another network.
    """

    def __init__(self, weights: str, device: str = 'cpu', tile: int = 400, max_pixels: int = MAX_PIXELS) -> None:
        if tile and tile < 2 * OVERLAP:
            raise RefStarError(f'--tile must be 0 (no tiles) or at least {2 * OVERLAP}, got {tile}')
        state = read_state_dict(weights, 'background upsampler (--bg_weights)')
        net, self.scale = build_realesrgan(state, weights)
        self.net = load_fitting(net, state, weights).eval().to(device)
        self.device, self.tile, self.max_pixels = device, tile, max_pixels

    def __call__(self, rgb: np.ndarray, factor: float) -> np.ndarray:
        """Enlarge a photo (H, W, 3), uint8, to `factor` times its sides.

        Raises:
            RefStarError: at the network's own factor it has too many pixels, whatever `factor` is.
        """
        height, width = rgb.shape[:2]
        what = f'the background, enlarged {self.scale} times by its network'
        refuse_large(width * self.scale, height * self.scale, self.max_pixels, what)
        tile = self.tile or max(height, width)
        out = np.empty((height * self.scale, width * self.scale, 3), np.uint8)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                self._tile(rgb, out, top, left, tile)
        return resize(out, scaled(rgb, factor))

    @torch.inference_mode()
    def _tile(self, rgb: np.ndarray, out: np.ndarray, top: int, left: int, tile: int) -> None:
        bottom, right = min(top + tile, len(rgb)), min(left + tile, rgb.shape[1])
        y, x = max(0, top - OVERLAP), max(0, left - OVERLAP)
        part = rgb[y : bottom + OVERLAP, x : right + OVERLAP]
        odd = [(0, -side % 4) for side in part.shape[:2]]  # the x2 network takes whole blocks of pixels
        tensor = (to_tensor(np.pad(part, [*odd, (0, 0)], mode='edge'))[None].to(self.device) + 1) / 2
        big = to_image(self.net(tensor)[0] * 2 - 1)
        s = self.scale
        window = big[(top - y) * s : (bottom - y) * s, (left - x) * s : (right - x) * s]
        out[top * s : bottom * s, left * s : right * s] = window
