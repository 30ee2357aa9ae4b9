"""Images are read whole and right, or refused by name."""

import cv2
import numpy as np
import pytest

from refstar.data.images import ImageStore, decode
from refstar.utils.errors import RefStarError


def test_images_are_checked_by_name(tmp_path):
    good, wide, broken, half = (tmp_path / name for name in ('good.png', 'wide.png', 'broken.png', 'half.jpg'))
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 2] = 255  # red, as OpenCV writes BGR
    cv2.imwrite(str(good), picture)
    cv2.imwrite(str(wide), picture[:8])
    broken.write_bytes(good.read_bytes()[:40])
    _, code = cv2.imencode('.jpg', np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8))
    half.write_bytes(code.tobytes()[: code.size // 2 + 200])
    assert ImageStore(16)(good)[0, 0].tolist() == [1, 0, 0]
    assert ImageStore(8, resize=True)(good).shape == (8, 8, 3)
    for store, path, message in [
        (ImageStore(32), good, r'good\.png: is 16x16, expected 32x32; set resize'),
        (ImageStore(16), wide, r'wide\.png: 16x8 is not square'),
        (ImageStore(16), broken, r'broken\.png: is not a readable image'),
        (ImageStore(16), half, r'half\.jpg: is not a readable image'),
        (ImageStore(16), tmp_path / 'none.png', r'none\.png: there is no such file'),
    ]:
        with pytest.raises(RefStarError, match=message):
            store(path)
    with pytest.raises(RefStarError, match='broken'):
        ImageStore(16, preload=[good, broken])


@pytest.mark.filterwarnings('ignore::UserWarning')  # of Pillow, before it gives up
def test_a_broken_image_in_any_way_is_one_clear_error(tmp_path):
    """Every cut and 100 random changes of a file end in an image or in an error that names it."""
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    rng = np.random.default_rng(1)
    for suffix in ('.png', '.jpg', '.webp', '.tif', '.bmp'):
        code = cv2.imencode(suffix, pixels)[1].tobytes()
        path = tmp_path / f'a{suffix}'
        for _ in range(60):
            broken = bytearray(code[: rng.integers(len(code) + 1)])
            for at in rng.integers(0, max(len(broken), 1), rng.integers(0, 4)):
                broken[at : at + 1] = bytes([rng.integers(256)])
            path.write_bytes(broken)
            try:
                assert decode(path, 'RGB').ndim == 3
            except RefStarError as error:
                assert path.name in str(error)
