"""Pictures of every kind are read right, written as they were, or refused in one clear line."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers.restoring import picture, save
from PIL import Image

from refstar import RefStarError
from refstar.data.images import decode
from refstar.utils.image_files import Picture, read_picture, write_picture


def test_pictures_are_read_right(tmp_path):
    img = picture(0, 20, 30)
    upright = read_picture(save(tmp_path / 'plain.png', img))
    assert (upright.rgb == img).all() and not upright.grey and upright.alpha is None
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    turned = tmp_path / 'turned.png'
    Image.fromarray(np.ascontiguousarray(np.rot90(img))).save(turned, exif=exif)
    assert (read_picture(turned).rgb == img).all()
    rgba = np.dstack([img, np.arange(600, dtype=np.uint8).reshape(20, 30)])
    clear = read_picture(save(tmp_path / 'rgba.png', rgba))
    assert (clear.rgb == img).all() and (clear.alpha == rgba[..., 3]).all()
    assert read_picture(save(tmp_path / 'grey.png', img[..., 0])).grey
    deep = img[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    assert (read_picture(tmp_path / 'deep.png').rgb[..., 1] == img[..., 0]).all()
    Image.fromarray(img).convert('CMYK').save(tmp_path / 'cmyk.tif')
    assert np.abs(read_picture(tmp_path / 'cmyk.tif').rgb.astype(int) - img).max() <= 2
    Image.fromarray(img).convert('P').save(tmp_path / 'p.gif')
    assert read_picture(tmp_path / 'p.gif').rgb.shape == img.shape
    assert read_picture(save(tmp_path / 'dot.png', img[:1, :1])).rgb.shape == (1, 1, 3)


@pytest.mark.parametrize('form', ['EPS', 'PDF', 'PPM', 'ICO', 'TGA'])
def test_formats_that_nobody_named_are_not_tried(form, tmp_path):
    """Whatever the file is called: by command line, data sets and app alike."""
    path = tmp_path / 'a.png'
    Image.fromarray(picture(0, 16, 16)).save(path, form)
    for read in (read_picture, lambda p: read_picture(p.read_bytes(), name='a.png'), lambda p: decode(p, 'RGB')):
        with pytest.raises(RefStarError, match=r'a\.png: is not a readable image \(PNG, JPEG, WEBP, BMP, TIFF, GIF\)'):
            read(path)


def test_of_several_pictures_of_a_camera_the_first_is_taken(tmp_path):
    first, second = (Image.fromarray(np.full((16, 16, 3), level, np.uint8)) for level in (50, 200))
    first.save(tmp_path / 'a.jpg', 'MPO', save_all=True, append_images=[second])
    with Image.open(tmp_path / 'a.jpg') as file:
        assert file.format == 'MPO' and file.n_frames == 2
    assert abs(int(read_picture(tmp_path / 'a.jpg').rgb.mean()) - 50) <= 1


def test_the_limit_is_ours_and_not_pillows(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
    path = save(tmp_path / 'a.png', picture(0, 40, 40))  # more than Pillow opens
    for limit, read in ((1599, read_picture), (1599, lambda p, n: read_picture(p.read_bytes(), n, 'a.png'))):
        with pytest.raises(RefStarError, match=r'a\.png: 40x40 is too large \(limit: 1599 pixels\)'):
            read(path, limit)
    with pytest.raises(RefStarError, match=r'a\.png: is too large \(limit: 900 pixels\)'):
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
        read_picture(path, 900)
    for read in (read_picture, lambda p, n: read_picture(p.read_bytes(), n, 'a.png')):
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
        assert read(path, 1600).rgb.shape == (40, 40, 3)


def test_broken_and_huge_pictures_are_one_clear_line(tmp_path, monkeypatch):
    good = save(tmp_path / 'good.png', picture(0, 40, 40)).read_bytes()
    for name, data in {'cut.png': good[:-60], 'empty.png': b'', 'text.png': b'hello', 'half.jpg': b'\xff\xd8'}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RefStarError, match=f'{name}: is not a readable image'):
            read_picture(tmp_path / name)
    huge = tmp_path / 'huge.png'
    header = b'IHDR' + struct.pack('>II', 20_000, 20_000) + good[24:29]  # a small file that says it is huge
    huge.write_bytes(good[:12] + header + struct.pack('>I', zlib.crc32(header)) + good[33:])
    large = save(tmp_path / 'large.png', picture(0, 100, 100))
    monkeypatch.setattr(Image.Image, 'load', lambda self: pytest.fail('was decoded'))
    with pytest.raises(RefStarError, match=r'huge.png: is too large \(limit: 100000000 pixels\)'):
        read_picture(huge)
    with pytest.raises(RefStarError, match=r'large.png: 100x100 is too large \(limit: 9999 pixels\)'):
        read_picture(large, 9999)


@pytest.mark.parametrize('suffix', ['.png', '.webp', '.jpg', '.tif', '.bmp'])
def test_pictures_are_written_as_they_were(tmp_path, suffix):
    img = cv2.GaussianBlur(picture(0, 20, 30), (0, 0), 3)
    for one in (Picture(img, np.full((20, 30), 9, np.uint8), False, b'profile'), Picture(img, grey=True).with_rgb(img)):
        write_picture(tmp_path / f'ä ü{suffix}', one)
        back = read_picture(tmp_path / f'ä ü{suffix}')
        assert (back.grey == one.grey or suffix == '.webp') and np.abs(back.rgb.astype(int) - one.rgb).mean() < 2.5
        assert (back.alpha is None) == (one.alpha is None or suffix in ('.jpg', '.bmp'))
    with pytest.raises(RefStarError, match=r'cannot write \.xyz'):
        write_picture(tmp_path / 'a.xyz', one)
