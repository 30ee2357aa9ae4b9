"""Animations keep their format, frames, times, loops and transparency."""

import numpy as np
import pytest
from helpers.restoring import picture
from PIL import Image, ImageSequence

from refstar import RefStarError
from refstar.utils.animations import change_animation, is_animation

TIMES = [50, 100, 150, 200]


def make(path, alpha: bool = False):
    frames = [Image.fromarray(picture(i, 20, 32)) for i in range(len(TIMES))]
    for frame in frames if alpha else ():
        frame.putalpha(Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 16, 1).repeat(20, 0)))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=TIMES, loop=0)
    return path


def shown(path) -> tuple[list[np.ndarray], list[float]]:
    """Frames, uint8 (H, W, 4), and times in milliseconds."""
    with Image.open(path) as file:
        assert path.suffix == '.avif' or file.info['loop'] == 0
        frames = [(np.array(frame.convert('RGBA')), frame.info['duration']) for frame in ImageSequence.Iterator(file)]
    return [frame for frame, _ in frames], [time for _, time in frames]


@pytest.mark.parametrize('suffix', ['.gif', '.webp', '.png', '.avif'])
@pytest.mark.parametrize('alpha', [False, True])
def test_all_frames_are_changed(suffix, alpha, tmp_path):
    path, out = make(tmp_path / f'a{suffix}', alpha), tmp_path / f'out/b{suffix}'
    assert is_animation(path) and change_animation(path, out, lambda img: np.repeat(255 - img, 2, 1), 10_000) == 4
    (before, _), (after, times) = shown(path), shown(out)
    assert times == TIMES and after[0].shape == (20, 64, 4)
    for old, new in zip(before, after, strict=True):
        assert (new[:, :30:2, 3] == old[:, :15, 3]).all() and new[:, 34:, 3].min() == 255
        assert np.abs(new[:, 34::2, :3].astype(int) - (255 - old[:, 17:, :3].astype(int))).mean() < 12


def test_other_files_are_no_animations(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / 'still.gif')
    (tmp_path / 'broken.gif').write_bytes(b'GIF89a')
    assert not any(is_animation(tmp_path / name) for name in ('still.gif', 'broken.gif', 'gone.webp', 'a.jpg'))


def test_large_and_broken_animations_are_refused(tmp_path):
    path = make(tmp_path / 'a.webp')
    with pytest.raises(RefStarError, match=r'a\.webp: 32x20 is too large'):
        change_animation(path, tmp_path / 'b.webp', np.copy, 600)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RefStarError, match=r'a\.webp: is not a readable image'):
        change_animation(path, tmp_path / 'b.webp', np.copy, 10_000)
    assert not (tmp_path / 'b.webp').exists()
