"""Images of data sets are square and of one size, or refused by name."""

import cv2
import numpy as np
import pytest

from refstar.data.images import ImageStore
from refstar.utils.errors import RefStarError


def test_images_are_read_and_resized_as_rgb(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / 'a.png'), red)
    assert ImageStore(16)(tmp_path / 'a.png')[0, 0].tolist() == [1, 0, 0]
    assert ImageStore(8, resize=True)(tmp_path / 'a.png').shape == (8, 8, 3)


@pytest.mark.parametrize(
    ('name', 'size', 'message'),
    [
        ('good.png', 32, r'good\.png: is 16x16, expected 32x32; set resize'),
        ('wide.png', 16, r'wide\.png: 16x8 is not square'),
        ('half.jpg', 16, r'half\.jpg: is not a readable image'),
        ('none.png', 16, r'none\.png: there is no such file'),
    ],
)
def test_wrong_images_are_named(tmp_path, name, size, message):
    img = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'good.png'), img)
    cv2.imwrite(str(tmp_path / 'wide.png'), img[:8])
    code = cv2.imencode('.jpg', img)[1]
    (tmp_path / 'half.jpg').write_bytes(code.tobytes()[: code.size // 2 + 200])
    for read in (ImageStore(size), lambda path: ImageStore(size, preload=[path])):
        with pytest.raises(RefStarError, match=message):
            read(tmp_path / name)
