"""Animations (GIF, WebP, PNG, AVIF of several pictures) as frames with their times."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from .atomic_files import new_file
from .errors import RefStarError
from .image_files import ANIMATED, open_image

SUFFIXES = {'.gif': 'GIF', '.webp': 'WEBP', '.png': 'PNG', '.apng': 'PNG', '.avif': 'AVIF'}
USUAL = 100  # milliseconds that a frame without a time of its own is shown


def is_animation(path: Path) -> bool:
    """Return whether a file is an animation; False for a file that is broken or not there."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with open_image(path) as file:
            return file.format in ANIMATED and getattr(file, 'is_animated', False)
    except RefStarError:
        return False


def change_animation(path: Path, output: Path, change: Callable[[np.ndarray], np.ndarray], max_pixels: int) -> int:
    """Write an animation whose frames are changed, with its times, loops and transparency; return their number.

    `change` maps frames, uint8 (H, W, 3) RGB, to frames of any one size. The format is that of the output's suffix.

    Raises:
        RefStarError: the file is no complete animation, has more pixels than `max_pixels`, or cannot be written.
    """
    with open_image(path, max_pixels=max_pixels) as file:
        loop = file.info.get('loop', 1 if file.format == 'GIF' else 0)
        read = [(frame.convert('RGBA'), frame.info.get('duration') or USUAL) for frame in ImageSequence.Iterator(file)]
    frames = []
    for rgba, _ in read:
        frames.append(Image.fromarray(change(np.array(rgba.convert('RGB')))))
        alpha = rgba.getchannel('A')
        if alpha.getextrema()[0] < 255:
            frames[-1].putalpha(alpha.resize(frames[-1].size))
    form = SUFFIXES[output.suffix.lower()]
    if any(frame.mode == 'RGBA' for frame in frames):
        frames = [frame.convert('RGBA') for frame in frames]
    options = {'quality': 95} if form in ('WEBP', 'AVIF') else {'disposal': 2} if form == 'GIF' else {}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with new_file(output) as target:
            frames[0].save(
                target,
                form,
                save_all=True,
                append_images=frames[1:],
                duration=[t for _, t in read],
                loop=loop,
                **options,
            )
    except (OSError, ValueError) as error:
        raise RefStarError(f'cannot write {output}: {error}') from None
    return len(frames)
