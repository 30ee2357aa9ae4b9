"""Pictures of every kind are read right, written as they were, or refused in one clear line."""

import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
import torch
from helpers.restoring import picture, save
from PIL import Image

from refstar import RefStarError
from refstar.utils.image_files import (
    Picture,
    decode_image,
    from_basicsr,
    picture_of,
    read_picture,
    to_image,
    to_tensor,
    write_picture,
)
from refstar.utils.photo_files import images_in


def test_common_forms_are_read_upright_as_rgb(tmp_path):
    img = picture(0, 20, 30)
    exif = Image.Exif()
    exif[274] = 6  # rotated by a quarter
    Image.fromarray(np.ascontiguousarray(np.rot90(img))).save(tmp_path / 'rotated.png', exif=exif)
    for path in (save(tmp_path / 'plain.png', img), tmp_path / 'rotated.png'):
        found = read_picture(path)
        assert (found.rgb == img).all() and not found.grey and found.alpha is None
    rgba = np.dstack([img, np.arange(600, dtype=np.uint8).reshape(20, 30)])
    assert (read_picture(save(tmp_path / 'rgba.png', rgba)).alpha == rgba[..., 3]).all()
    assert read_picture(save(tmp_path / 'grey.png', img[..., 0])).grey
    Image.fromarray(img[..., 0].astype(np.uint16) * 257).save(tmp_path / 'deep.png')
    assert (read_picture(tmp_path / 'deep.png').rgb[..., 1] == img[..., 0]).all()
    Image.fromarray(img).convert('CMYK').save(tmp_path / 'cmyk.tif')
    assert np.abs(read_picture(tmp_path / 'cmyk.tif').rgb.astype(int) - img).max() <= 2
    Image.fromarray(img).convert('P').save(tmp_path / 'p.gif')
    assert read_picture(tmp_path / 'p.gif').rgb.shape == img.shape


@pytest.mark.parametrize('suffix', ['tif', 'png', 'jpg', 'webp'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_turned_pictures_are_read_upright(suffix, orientation, tmp_path):
    """Grey TIFFs among them: Pillow maps their files into memory, and scrambled those that are stored turned."""
    img = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))  # 6 grey squares
    turns = (img, img[:, ::-1], img[::-1, ::-1], img[::-1], img.T, np.rot90(img), img[::-1, ::-1].T, np.rot90(img, -1))
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(turns[orientation - 1])).save(tmp_path / f'a.{suffix}', exif=exif)
    found = read_picture(tmp_path / f'a.{suffix}').rgb
    assert found.shape == (32, 48, 3) and np.abs(found[8::16, 8::16, 0].astype(int) - img[8::16, 8::16]).max() < 5


@pytest.mark.parametrize(
    ('name', 'form'), [('a.jfif', 'JPEG'), ('a.jpe', 'JPEG'), ('a.AVIF', 'AVIF'), ('a.gif', 'GIF'), ('a.heic', 'HEIF')]
)
def test_less_common_formats_are_photos_too(name, form, tmp_path):
    if form == 'HEIF':
        pytest.importorskip('pillow_heif').register_heif_opener()
    img = cv2.GaussianBlur(picture(0, 40, 60), (0, 0), 3)
    Image.fromarray(img).save(tmp_path / name, form)
    assert images_in(tmp_path) == [tmp_path / name]
    assert np.abs(read_picture(tmp_path / name).rgb.astype(int) - img).mean() < 5


def test_heic_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    (tmp_path / 'IMG_0.HEIC').write_bytes(b'\0\0\0\x18ftypheic' + bytes(64))
    assert images_in(tmp_path)
    with pytest.raises(RefStarError, match=r"IMG_0\.HEIC: HEIC needs pillow-heif: pip install 'refstar\[heic\]'"):
        read_picture(tmp_path / 'IMG_0.HEIC')


def test_pages_are_refused_and_previews_are_not(tmp_path):
    pages = [Image.fromarray(picture(i, 20, 30)) for i in range(3)]
    pages[0].save(tmp_path / 'scan.tif', save_all=True, append_images=pages[1:])
    with pytest.raises(RefStarError, match=r'scan\.tif: holds 3 pictures; save each as a file of its own'):
        read_picture(tmp_path / 'scan.tif')
    assert (picture_of(tmp_path / 'scan.tif').rgb == pages[0]).all()
    for page in pages[1:]:
        page.encoderinfo = {'tiffinfo': {254: 1}}  # a smaller copy
    pages[0].save(tmp_path / 'preview.tif', save_all=True, append_images=pages[1:])
    assert (read_picture(tmp_path / 'preview.tif').rgb == pages[0]).all()


@pytest.mark.parametrize(
    ('form', 'message'),
    [
        ('EPS', r'is not a readable image \(PNG, JPEG, WEBP, AVIF, BMP, TIFF, GIF, HEIC\); replace or remove it'),
        ('TGA', 'is not a readable image'),
        ('PDF', 'is a PDF; save its pictures as files of their own'),
    ],
)
def test_other_formats_are_refused_whatever_the_name(form, message, tmp_path):
    path = tmp_path / 'a.png'
    Image.fromarray(picture(0, 16, 16)).save(path, form)
    for read in (read_picture, lambda p: read_picture(p.read_bytes(), name='a.png'), lambda p: decode_image(p, 'RGB')):
        with pytest.raises(RefStarError, match=rf'a\.png: {message}'):
            read(path)


def test_the_pixel_limit_is_ours_and_not_pillows(tmp_path, monkeypatch):
    path = save(tmp_path / 'a.png', picture(0, 40, 40))
    for limit, message in ((1599, r'a\.png: 40x40 is too large \(limit: 1599 pixels\)'), (900, r'limit: 900 pixels')):
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
        with pytest.raises(RefStarError, match=message):
            read_picture(path, limit)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
    assert read_picture(path, 1600).rgb.shape == (40, 40, 3)


def test_huge_pictures_are_refused_before_decoding(tmp_path, monkeypatch):
    good = save(tmp_path / 'good.png', picture(0, 40, 40)).read_bytes()
    header = b'IHDR' + struct.pack('>II', 20_000, 20_000) + good[24:29]  # a small file that says it is huge
    (tmp_path / 'huge.png').write_bytes(good[:12] + header + struct.pack('>I', zlib.crc32(header)) + good[33:])
    monkeypatch.setattr(Image.Image, 'load', lambda self: pytest.fail('was decoded'))
    with pytest.raises(RefStarError, match=r'huge.png: is too large \(limit: 100000000 pixels\)'):
        read_picture(tmp_path / 'huge.png')


@pytest.mark.filterwarnings('ignore::UserWarning')  # of Pillow, before it gives up
@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.avif', '.tif', '.bmp'])
def test_broken_files_are_read_or_named(tmp_path, suffix):
    """60 cut and changed files each end in an image or in an error that names the file."""
    rng = np.random.default_rng(1)
    code = cv2.imencode(suffix, rng.integers(0, 255, (16, 16, 3)).astype(np.uint8))[1].tobytes()
    path = tmp_path / f'a{suffix}'
    for size in (0, 5, *rng.integers(len(code) + 1, size=58)):
        broken = bytearray(code[:size])
        for at in rng.integers(0, max(size, 1), rng.integers(0, 4)):
            broken[at : at + 1] = bytes([rng.integers(256)])
        path.write_bytes(broken)
        for read in (lambda p: decode_image(p, 'RGB'), lambda p: read_picture(p).rgb):
            try:
                assert read(path).ndim == 3
            except RefStarError as error:
                assert path.name in str(error)


@pytest.mark.parametrize('suffix', ['.png', '.webp', '.avif', '.jpg', '.tif', '.bmp'])
def test_pictures_are_written_as_they_were(tmp_path, suffix):
    img = cv2.GaussianBlur(picture(0, 20, 30), (0, 0), 3)
    for one in (Picture(img, np.full((20, 30), 9, np.uint8), False, b'profile'), Picture(img, grey=True).with_rgb(img)):
        write_picture(tmp_path / f'ä ü{suffix}', one)
        back = read_picture(tmp_path / f'ä ü{suffix}')
        assert (back.grey == one.grey or suffix in ('.webp', '.avif')) and np.abs(
            back.rgb.astype(int) - one.rgb
        ).mean() < 2.5
        assert (back.alpha is None) == (one.alpha is None or suffix in ('.jpg', '.bmp'))


def test_tensors_and_images_convert_back_and_forth():
    img = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    x = to_tensor(img)
    assert x.shape == (3, 8, 9) and x.min() >= -1 and x.max() <= 1
    assert (to_image(x) == img).all() and torch.equal(x, to_tensor(img / np.float32(255)))
    bgr = np.ascontiguousarray(img[..., ::-1])
    assert torch.equal(from_basicsr(bgr)[0], x) and torch.equal(from_basicsr(bgr, 2)[0], x[:, 2:-2, 2:-2])
    assert torch.equal(from_basicsr(bgr.transpose(2, 0, 1), input_order='CHW')[0], x)
    assert torch.equal(from_basicsr(bgr.astype(np.float64))[0], x)
