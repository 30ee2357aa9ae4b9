"""Whole photos: each face gets its own references; nothing changes outside the faces."""

import json

import cv2
import numpy as np
import pytest
from helpers.restoring import Detector, face_at, hue_checker, network, picture, restore, save

from refstar import RefStarError
from refstar.restore.restorer import Restorer
from refstar.utils.image_files import Picture


def test_two_people_get_their_own_references():
    photo = np.hstack([picture(1, 64, 64, 0), picture(2, 64, 64, 1), picture(3, 64, 64, 2)])
    detector = Detector({192: [face_at(16, 16, 32), face_at(80, 16, 32), face_at(144, 16, 32)]})
    restorer = Restorer(network(), identity_checker=hue_checker(), detector=detector)
    detector.faces[40] = [face_at(4, 4, 32)]
    people = restorer.people([picture(4, 40, 40, 1), picture(5, 40, 40, 0)])
    result = restorer.restore_photo(photo, people)
    by_place = {round(face.found.box[0]): face for face in result.faces}
    names = {x: [choice.reference.name for choice in face.chosen] for x, face in by_place.items()}
    assert names == {16: ['references 2'], 80: ['references 1'], 144: []}
    assert by_place[144].notes == ['nobody of the references is like this face']
    assert (result.picture.rgb[result.area == 0] == photo[result.area == 0]).all()
    assert (result.picture.rgb != photo).any(2)[result.area > 0.9].mean() > 0.5
    together = restorer.restore_photo(photo, people, batch_size=3)
    assert np.abs(together.picture.rgb.astype(int) - result.picture.rgb).max() <= 1
    empty = restorer.restore_photo(photo[:, :100], people)  # no face
    assert empty.faces == [] and (empty.picture.rgb == photo[:, :100]).all()
    one = restorer.restore_photo(photo, people, only_center_face=True)
    assert [round(f.found.box[0]) for f in one.faces] == [80]


def test_upscaling_keeps_faces_in_place():
    smooth = cv2.GaussianBlur(picture(0, 64, 80), (0, 0), 3)
    restorer = Restorer(network(), detector=Detector({80: [face_at(20, 12, 40)]}))
    whole = Picture(smooth, np.full((64, 80), 7, np.uint8))
    plain = cv2.resize(smooth, (160, 128), interpolation=cv2.INTER_LANCZOS4)
    result = restorer.restore_photo(whole, upscale=2)
    assert result.picture.rgb.shape == (128, 160, 3) and result.picture.alpha.shape == (128, 160)
    assert (result.picture.rgb[result.area == 0] == plain[result.area == 0]).all()
    y, x = (np.average(axis, weights=result.area) for axis in np.mgrid[:128, :160])
    assert abs(x - 2 * 40) < 2 and abs(y - 2 * (12 + 0.57 * 40)) < 3
    grey = Picture(np.repeat(smooth[..., :1], 3, 2), grey=True)
    out = restorer.restore_photo(grey).picture
    assert (out.rgb[..., 0] == out.rgb[..., 1]).all() and (out.rgb != grey.rgb).any()
    with pytest.raises(RefStarError, match='needs a face detector'):
        Restorer(network()).restore_photo(whole)


def test_real_people_get_their_own_references(faces_root, tmp_path, net):
    """Two people of the London set side by side, the right one's references named first; real detector and identity."""
    scene, people = np.full((600, 1200, 3), 90, np.uint8), ('london_003', 'london_005')
    for side, name in enumerate(people):
        photos = [cv2.imread(str(faces_root / f'london_512/{name}/{i}.jpg'))[..., ::-1] for i in ('01', '02')]
        scene[44:556, 44 + 600 * side :][:, :512] = photos[0]
        save(tmp_path / f'refs/{name}/smile.png', np.ascontiguousarray(photos[1]))
    photo, weights = save(tmp_path / 'pair.png', scene), faces_root / 'weights'
    flags = ['-n', net, '--detector', weights / 'detection_mobilenet0.25_Final.pth']
    flags += ['--identity_weights', weights / 'mobilefacenet_ms1m_128.pt']
    refs = [tmp_path / 'refs' / name for name in reversed(people)]
    assert restore('-i', photo, '-r', *refs, '-o', tmp_path / 'out', *flags) == 0
    record = json.loads((tmp_path / 'out/pair.json').read_text())
    faces = sorted(record['faces'], key=lambda face: face['box'][0])
    assert [face['person'] for face in faces] == list(people) and all(face['same_person'] for face in faces)
    names = [face['references'][0]['name'] for face in faces]
    assert names == [str(tmp_path / f'refs/{name}/smile.png') for name in people]
