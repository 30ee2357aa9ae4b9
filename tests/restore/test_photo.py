"""Whole photos: each face gets its own references; nothing changes outside the faces."""

import json

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from helpers.restoring import Detector, face_at, hue_checker, network, picture, restore, save

from refstar import RefStarError
from refstar.restore.photo import RealESRGAN, RestoredPhoto
from refstar.restore.restorer import Restorer
from refstar.utils.image_files import Picture


@pytest.fixture(scope='module')
def trio() -> tuple[Restorer, np.ndarray]:
    """Three people side by side, each of a hue, found on a photo of this width."""
    photo = np.hstack([picture(1, 64, 64, 0), picture(2, 64, 64, 1), picture(3, 64, 64, 2)])
    places = {192: [face_at(16, 16, 32), face_at(80, 16, 31), face_at(144, 16, 30)], 40: [face_at(4, 4, 32)]}
    return Restorer(network(), identity_checker=hue_checker(), detector=Detector(places)), photo


REFERENCES = [picture(4, 40, 40, 1), picture(5, 40, 40, 0)]  # of two of them


def changed(result: RestoredPhoto, photo: np.ndarray) -> list[bool]:
    """Which of the three were changed."""
    return [bool((result.picture.rgb != photo)[:, 64 * i :][:, :64].any()) for i in range(3)]


def test_two_people_get_their_own_references(trio):
    restorer, photo = trio
    people = restorer.people(REFERENCES)
    result = restorer.restore_photo(photo, people)
    names = [[choice.reference.name for choice in face.chosen] for face in result.faces]
    assert names == [['references 2'], ['references 1'], []]
    assert (result.picture.rgb[result.area == 0] == photo[result.area == 0]).all()
    assert (result.picture.rgb != photo).any(2)[result.area > 0.9].mean() > 0.5
    empty = restorer.restore_photo(photo[:, :100], people)  # no face
    assert empty.faces == [] and (empty.picture.rgb == photo[:, :100]).all()
    one = restorer.restore_photo(photo, people, only_center_face=True)
    assert [round(face.found.box[0]) for face in one.faces] == [80]


def test_strangers_are_left_unless_asked_for(trio):
    restorer, photo = trio
    left, all_of_them = (restorer.restore_photo(photo, REFERENCES, unmatched=way) for way in ('leave', 'restore'))
    assert changed(left, photo) == [True, True, False] and changed(all_of_them, photo) == [True] * 3
    assert left.faces[2].leave and 'looks like nobody on the good photos: it was left' in left.faces[2].notes[0]
    assert changed(restorer.restore_photo(photo), photo) == [True] * 3  # nobody is asked for: all are restored


def test_a_person_who_is_there_twice_is_restored_twice(trio):
    restorer, _ = trio
    photo = np.hstack([picture(1, 64, 64, 0), picture(2, 64, 64, 1), picture(3, 64, 64, 0)])
    result = restorer.restore_photo(photo, REFERENCES)
    assert [face.identity.person for face in result.faces] == ['references (2)', 'references', 'references (2)']


def test_small_faces_are_left_and_their_people_are_free(trio):
    restorer, photo = trio
    result = restorer.restore_photo(photo, REFERENCES[0], min_face=30.5)
    assert changed(result, photo) == [False, True, False]
    assert 'narrower than 30.5 pixels' in result.faces[2].notes[0]


@pytest.mark.parametrize('strength', [0.0, 1.0])
def test_a_photo_in_one_tint_keeps_it(strength):
    brightness = cv2.GaussianBlur(3.0 * picture(0, 64, 64)[..., 0] - 180, (0, 0), 1).clip(0, 255)[..., None] / 255
    sepia = np.rint(brightness * (250, 205, 150) + (2, 10, 20)).astype(np.uint8)
    restorer = Restorer(network(), detector=Detector({64: [face_at(16, 16, 32)], 40: [face_at(4, 4, 32)]}))
    result = restorer.restore_photo(sepia, picture(1, 40, 40), strength=strength)
    face = result.picture.rgb[result.area > 0.99].astype(float)
    share = (3 * face.mean(1, keepdims=True) - 32) / 605
    expected = share * (250, 205, 150) + np.array((2, 10, 20))
    assert (result.picture.rgb != sepia).any() and np.abs(face - expected).max() < 3
    grey = restorer.restore_photo(sepia, picture(1, 40, 40), grey=True).picture
    assert grey.grey and (grey.rgb == grey.rgb[..., :1]).all()


@pytest.mark.parametrize('side', [24, 32, 80])
def test_aligned_faces_come_back_in_their_own_size(side):
    restorer = Restorer(network())
    small, large = (restorer.restore_photo(picture(0, side, side), upscale=scale, aligned=True) for scale in (1, 2))
    assert small.picture.rgb.shape == (side, side, 3) and large.picture.rgb.shape == (2 * side, 2 * side, 3)
    back = cv2.resize(large.picture.rgb, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(back.astype(int) - large.faces[0].image).mean() < 12
    assert bool(small.faces[0].notes) == (side == 80)


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


def test_tiles_have_no_seams(tmp_path):
    torch.manual_seed(0)
    nets = {
        'x2': (RRDBNet(3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4), 2),
        'x4': (SRVGGNetCompact(3, 3, 8, 2, 4), 4),
    }
    photo = picture(0, 50, 71)
    for name, (net, scale) in nets.items():
        torch.save({'params_ema': net.state_dict()}, tmp_path / f'{name}.pth')
        tiled, whole = (RealESRGAN(str(tmp_path / f'{name}.pth'), tile=tile) for tile in (32, 0))
        assert whole.scale == scale and tiled(photo, scale).shape == (50 * scale, 71 * scale, 3)
        assert np.abs(tiled(photo, scale).astype(int) - whole(photo, scale)).max() <= 1
        assert whole(photo, 1.5).shape == (75, 106, 3)
    whole.max_pixels = 200 * 284  # of x4, and whatever factor is asked for
    assert whole(photo, 1).shape == photo.shape
    whole.max_pixels -= 1
    with pytest.raises(RefStarError, match=r'enlarged 4 times by its network: 284x200 is too large \(limit: 56799'):
        whole(photo, 1)
    torch.save({'params': torch.nn.Linear(2, 2).state_dict()}, tmp_path / 'other.pth')
    with pytest.raises(RefStarError, match='is no Real-ESRGAN'):
        RealESRGAN(str(tmp_path / 'other.pth'))
