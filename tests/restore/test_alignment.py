"""Faces found, cut out and pasted back."""

import json

import cv2
import numpy as np
import pytest
from helpers.restoring import SIZE, face_at, picture, restore, save
from PIL import Image

from refstar.restore.alignment import FaceDetector, cut, feather, paste, template, turn_back
from refstar.utils.image_files import read_picture
from refstar.utils.released_weights import SHIPPED, resolve

YUNET = resolve('yunet')
REFERENCE = SHIPPED.parents[2] / 'docs/example/references/1.jpg'


@pytest.mark.parametrize('side', [20, 64, 150])
@pytest.mark.parametrize('area', ['face', 'square'])
def test_pasting_a_cut_face_restores_the_photo(side, area):
    photo = cv2.GaussianBlur(picture(0, 240, 300), (0, 0), 4)
    face = face_at(30, 40, side)
    turn = cv2.getRotationMatrix2D((60, 80), 20, 1)
    points = face.points @ turn[:, :2].T + turn[:, 2]
    crop, matrix, _ = cut(photo, points, 64)
    back = photo.copy()
    weight = paste(back, crop, matrix, feather(64, area))
    assert (back[weight == 0] == photo[weight == 0]).all() and weight.max() > 0.99
    assert np.abs(back.astype(int) - photo).max() <= 6  # resampled twice
    assert 0.25 * side**2 < weight.sum() < 0.8 * side**2
    inverted = photo.copy()
    paste(inverted, 255 - crop, matrix, feather(64, area))
    changed = (inverted != photo).any(2)
    assert changed.sum() > 0.2 * side**2 and not changed[weight == 0].any()


def test_faces_at_the_edge_of_the_photo():
    photo = picture(0, 60, 60)
    for x, y, inside in ((-16, -10, True), (45, 40, True), (200, 200, False), (-100, 0, False)):
        crop, matrix, _ = cut(photo, face_at(x, y, 32).points, SIZE)
        weight = paste(photo.copy(), crop, matrix, feather(SIZE))
        assert crop.shape == (SIZE, SIZE, 3) and (weight.max() > 0) == inside


@pytest.mark.parametrize('quarters', [0, 1, 2, 3])
@pytest.mark.parametrize('shape', [(600, 900), (900, 600)])
def test_photos_on_their_side_are_turned_to_find_faces(faces_root, quarters, shape):
    portrait = cv2.imread(str(faces_root / 'london_512/london_003/01.jpg'))[..., ::-1]
    scene = np.full((*shape, 3), 90, np.uint8)
    scene[60:460, 130:530] = cv2.resize(portrait, (400, 400), interpolation=cv2.INTER_AREA)
    (found,) = FaceDetector(YUNET)(np.ascontiguousarray(np.rot90(scene, quarters)))
    upright = turn_back(found, quarters, scene.shape)
    assert np.abs(upright.points - template(400) - (130, 60)).max() < 20
    assert (found.box[:2] < found.points.min(0)).all() and (found.points.max(0) < found.box[2:]).all()


@pytest.mark.parametrize('side', [900, 1600, 3000])
def test_a_face_that_fills_the_photo_is_found_once(side):
    """And a small one beside it. YuNet alone takes parts of a face of more than 400 pixels for faces."""
    portrait = read_picture(REFERENCE).rgb
    photo = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_CUBIC)
    photo[:100, :100] = cv2.resize(portrait, (100, 100), interpolation=cv2.INTER_AREA)
    large, small = FaceDetector(YUNET)(photo)
    assert np.abs(large.points - template(side)).max() < 0.02 * side
    assert np.abs(small.points - template(100)).max() < 4


@pytest.mark.parametrize('file', ['yunet_n_640_640.onnx', 'detection_mobilenet0.25_Final.pth'])
def test_detectors_find_real_faces(faces_root, tmp_path, net, file):
    """With the detectors and a photo of shared/faces: a large turned photo, a small one, one without a face."""
    portrait = cv2.imread(str(faces_root / 'london_512/london_003/01.jpg'))[..., ::-1]
    scene = np.full((600, 900, 3), 90, np.uint8)
    scene[60:572, 200:712] = portrait
    photos = {'scene': scene, 'turned': np.rot90(scene), 'small': cv2.resize(scene, (150, 100)), 'none': scene[:, :190]}
    exif = Image.Exif()
    exif[274] = 6
    for name, img in photos.items():
        save(tmp_path / f'in/{name}.png', np.ascontiguousarray(img), **({'exif': exif} if name == 'turned' else {}))
    save(tmp_path / 'in/dot.png', scene[:1, :1])
    save(tmp_path / 'in/line.png', scene[:1])
    weights = faces_root / 'weights' / file
    assert restore('-i', tmp_path / 'in', '-o', tmp_path / 'out', '-n', net, '--detector', weights) == 0
    records = {p.stem: json.loads(p.read_text()) for p in (tmp_path / 'out').glob('*.json')}
    counts = {name: len(record['faces']) for name, record in records.items()}
    assert counts == {'scene': 1, 'turned': 1, 'small': 1, 'none': 0, 'dot': 0, 'line': 0}
    points = np.array(records['scene']['faces'][0]['points'])
    assert abs(points[0, 1] - points[1, 1]) < 12 and 0.2 * 512 < points[1, 0] - points[0, 0] < 0.3 * 512
    small = np.array(records['small']['faces'][0]['points']) * 6
    assert np.abs(small - points).max() < 25
