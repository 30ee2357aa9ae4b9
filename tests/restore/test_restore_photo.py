"""Whole photos: cut out and put back without a trace outside the face; pictures of every kind; the command."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from helpers import runs
from helpers.restoring import SIZE, Detector, face_at, hue_checker, network, network_file, picture, save
from PIL import Image

from refstar import RefStarError
from refstar.restore.alignment import FaceDetector, cut, feather, paste
from refstar.restore.background import RealESRGAN
from refstar.restore.faces import RestoreSettings
from refstar.restore.photo import PhotoSettings, restore_photo
from refstar.restore.restorer import Restorer
from refstar.tools.cli import main
from refstar.utils.image_files import Picture, picture_of, read_picture


# ------------------------------------------------------------------ cutting and pasting
@pytest.mark.parametrize('side', [20, 64, 150])
@pytest.mark.parametrize('area', ['face', 'square'])
def test_what_is_cut_out_goes_back_where_it_was(side, area):
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


def test_a_face_over_the_edge_or_outside_of_the_photo():
    photo = picture(0, 60, 60)
    for x, y, inside in ((-16, -10, True), (45, 40, True), (200, 200, False), (-100, 0, False)):
        crop, matrix, _ = cut(photo, face_at(x, y, 32).points, SIZE)
        weight = paste(photo.copy(), crop, matrix, feather(SIZE))
        assert crop.shape == (SIZE, SIZE, 3) and (weight.max() > 0) == inside


def test_two_people_get_their_own_references():
    photo = np.hstack([picture(1, 64, 64, 0), picture(2, 64, 64, 1), picture(3, 64, 64, 2)])
    detector = Detector({192: [face_at(16, 16, 32), face_at(80, 16, 32), face_at(144, 16, 32)]})
    restorer = Restorer(network(), identity_checker=hue_checker(), detector=detector)
    detector.faces[40] = [face_at(4, 4, 32)]
    people = restorer.people([picture(4, 40, 40, 1), picture(5, 40, 40, 0)])
    result = restore_photo(restorer, picture_of(photo), people, RestoreSettings())
    by_place = {round(found.box[0]): face for found, face in ((f.face.found, f) for f in result.faces)}
    names = {x: [choice.reference.name for choice in face.chosen] for x, face in by_place.items()}
    assert names == {16: ['references 2'], 80: ['references 1'], 144: []}
    assert by_place[144].notes == ['nobody of the references is like this face']
    assert (result.picture.rgb[result.area == 0] == photo[result.area == 0]).all()
    assert (result.picture.rgb != photo).any(2)[result.area > 0.9].mean() > 0.5
    together = restore_photo(restorer, picture_of(photo), people, RestoreSettings(), PhotoSettings(batch_size=3))
    assert np.abs(together.picture.rgb.astype(int) - result.picture.rgb).max() <= 1
    empty = restore_photo(restorer, picture_of(photo[:, :100]), people, RestoreSettings())  # no face
    assert empty.faces == [] and (empty.picture.rgb == photo[:, :100]).all()
    one = restore_photo(restorer, picture_of(photo), people, RestoreSettings(), PhotoSettings(only_center_face=True))
    assert [round(f.face.found.box[0]) for f in one.faces] == [80]


def test_enlarging_keeps_faces_in_place_and_what_is_transparent():
    smooth = cv2.GaussianBlur(picture(0, 64, 80), (0, 0), 3)
    restorer = Restorer(network(), detector=Detector({80: [face_at(20, 12, 40)]}))
    whole = Picture(smooth, np.full((64, 80), 7, np.uint8))
    plain = cv2.resize(smooth, (160, 128), interpolation=cv2.INTER_LANCZOS4)
    result = restore_photo(restorer, whole, [], RestoreSettings(), PhotoSettings(upscale=2))
    assert result.picture.rgb.shape == (128, 160, 3) and result.picture.alpha.shape == (128, 160)
    assert (result.picture.rgb[result.area == 0] == plain[result.area == 0]).all()
    y, x = (np.average(axis, weights=result.area) for axis in np.mgrid[:128, :160])
    assert abs(x - 2 * 40) < 2 and abs(y - 2 * (12 + 0.57 * 40)) < 3
    grey = Picture(np.repeat(smooth[..., :1], 3, 2), grey=True)
    out = restore_photo(restorer, grey, restorer_people(restorer), RestoreSettings()).picture
    assert (out.rgb[..., 0] == out.rgb[..., 1]).all() and (out.rgb != grey.rgb).any()
    with pytest.raises(RefStarError, match='needs a face detector'):
        restore_photo(Restorer(network()), whole, [], RestoreSettings())


def restorer_people(restorer):
    return Restorer(restorer.net).people([picture(8)])


def test_the_background_is_enlarged_in_tiles_without_seams(tmp_path):
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


# ------------------------------------------------------------------ the command
@pytest.fixture(scope='module')
def net(tmp_path_factory):
    return network_file(tmp_path_factory.mktemp('net'))


def restore(*args: object) -> int:
    return main(['restore', *map(str, args)])


def test_a_folder_with_bad_files_in_it(tmp_path, net, capsys):
    """The good ones are restored, the bad ones named, nothing else changes."""
    photos, refs, out = tmp_path / 'in put', tmp_path / 'réfs', tmp_path / 'out'
    for i, name in enumerate(('a b.png', 'ü.jpg', 'c.png', 'c.jpg', 'big.png')):
        save(photos / name, picture(i, 64 if name == 'big.png' else SIZE, 64 if name == 'big.png' else SIZE))
    save(photos / 'grey.png', picture(7)[..., 0])
    save(photos / 'wide.png', picture(8, SIZE, 40))
    for name, data in {'cut.png': (photos / 'c.png').read_bytes()[:-40], 'empty.jpg': b'', 'text.webp': b'x'}.items():
        (photos / name).write_bytes(data)
    (photos / 'notes.txt').write_text('no photo')
    for i in range(3):
        save(refs / f'{i}.png', picture(20 + i))
    before = runs.files_under(photos) | runs.files_under(refs)
    flags = ['--aligned', '-n', net, '--save_mask', '--save_faces', '--num_refs', 2, '--suffix', '_r', '-w', 0.9]
    flags += ['--report', '--batch_size', 3]
    assert restore('-i', photos, '-r', refs, '-o', out, *flags) == 1
    assert runs.files_under(photos) | runs.files_under(refs) == before
    assert {p.name for p in tmp_path.iterdir()} == {'in put', 'réfs', 'out'}
    restored = {p.name for p in out.iterdir() if p.is_file() and p.suffix != '.json'}
    page = (out / 'report.html').read_text()
    (out / 'report.html').unlink()
    assert page.count('<h2>') == 6 and page.count('class="bad"') == 4 and 'http' not in page
    restored = restored - {'report.html'}
    assert restored == {'a b_r.png', 'ü_r.jpg', 'c_png_r.png', 'c_jpg_r.jpg', 'big_r.png', 'grey_r.png'}
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if 'error: ' in line]
    assert len(errors) == 4 and all(any(name in line for line in errors) for name in ('cut', 'empty', 'text', 'wide'))
    assert '6 restored (6 faces), 4 failed' in said.out
    with Image.open(out / 'grey_r.png') as grey:
        assert grey.mode == 'L'
    record = json.loads((out / 'a b_r.json').read_text())
    face = record['faces'][0]
    assert record['strength'] == 0.9 and len(face['references']) == 2 and len(face['dropped']) == 1
    assert {'name', 'score', 'why', 'similarity', 'selected', 'share_of_face'} <= set(face['references'][0])
    assert 0 < face['from_references'] <= 0.9
    masks = {p.name for p in (out / 'masks/a b_r_00').iterdir()}
    used = [ref['name'].split('/')[-1][0] for ref in face['references']]
    assert masks == {'attribution.png'} | {f'{i}{end}' for i in used for end in ('.png', '_overlay.jpg')}
    for kind in ('before', 'restored'):
        assert (out / f'faces/a b_r_00_{kind}.png').is_file()
    alone = tmp_path / 'alone'  # in a batch or not, it is the same
    assert restore('-i', photos / 'ü.jpg', '-r', refs, '-o', alone, *flags[:-2], '--ext', 'png') == 0
    one, batched = read_picture(alone / 'ü_r.png').rgb, read_picture(out / 'faces/ü_r_00_restored.png').rgb
    assert np.abs(one.astype(int) - batched).max() <= 1


def test_references_by_the_name_of_the_photo(tmp_path, net, capsys):
    for name in ('a', 'b', 'c'):
        save(tmp_path / f'in/{name}.png', picture(0))
    save(tmp_path / 'refs/a.jpg', picture(1))
    for i in range(2):
        save(tmp_path / f'refs/b/{i}.png', picture(2 + i))
    flags = ['-o', tmp_path / 'out', '-n', net, '--aligned', '--refs_by_name']
    assert restore('-i', tmp_path / 'in', '-r', tmp_path / 'refs', *flags) == 1
    assert 'c.png: no reference of this name in' in capsys.readouterr().err
    for name, expected in (('a', ['a.jpg']), ('b', ['0.png', '1.png'])):
        face = json.loads((tmp_path / f'out/{name}.json').read_text())['faces'][0]
        assert sorted(ref['name'].split('/')[-1] for ref in face['references']) == expected
    assert restore('-i', tmp_path / 'in', '-r', tmp_path / 'refs/a.jpg', *flags) == 2
    assert 'a.jpg: no such folder' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('refs', 'flags', 'output'),
    [
        (['refs'], ['--refs_by_name'], 'refs'),
        (['refs'], ['--refs_by_name'], 'refs/a'),
        (['refs'], [], 'refs'),
        (['refs/b.png', 'refs/a.png'], [], 'refs'),
        (['refs'], ['--refs_by_name', '--suffix', '_r'], 'refs'),  # written for a, a reference of a_r
    ],
)
def test_references_are_not_overwritten(refs, flags, output, tmp_path, net, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(('in/a', 'in/a_r', 'refs/a', 'refs/b', 'refs/a_r', 'refs/a/a', 'refs/a/a_r')):
        save(tmp_path / f'{name}.png', picture(i))
    before = runs.files_under(tmp_path)
    assert restore('-i', 'in', '-r', *refs, '-o', output, '-n', net, '--aligned', *flags) == 2
    assert re.search(r'error: refs/.*\.png: would be overwritten', capsys.readouterr().err)
    assert runs.files_under(tmp_path) == before
    assert restore('-i', 'in', '-r', *refs, '-o', 'refs/c/d', '-n', net, '--aligned', *flags) in (0, 1)


def test_a_batch_that_fails_is_restored_one_by_one(tmp_path, net, capsys, monkeypatch):
    """Three faces are too many at a time, one fails alone too: it is named, the others are done and in the report."""
    for i, name in enumerate('abc'):
        save(tmp_path / f'in/{name}.png', picture(i))
    save(tmp_path / 'r.png', picture(9))
    flags = ['-r', tmp_path / 'r.png', '-n', net, '--aligned']
    assert restore('-i', tmp_path / 'in', '-o', tmp_path / 'free', *flags) == 0
    original = Restorer.restore

    def restore_little(self, plans, settings):
        if len(plans) > 2:
            raise MemoryError('too many')
        if (plans[0].face.crop == picture(1)).all():
            raise RuntimeError('bad face')
        return original(self, plans, settings)

    monkeypatch.setattr(Restorer, 'restore', restore_little)
    assert restore('-i', tmp_path / 'in', '-o', tmp_path / 'out', *flags, '--batch_size', 3, '--report') == 1
    said = capsys.readouterr()
    assert (
        'b.png: RuntimeError: bad face' in said.err and '3 faces at a time failed (MemoryError: too many)' in said.err
    )
    assert '2 restored (2 faces), 1 failed' in said.out
    page = (tmp_path / 'out/report.html').read_text()
    assert page.count('<h2>') == 2 and page.count('class="bad"') == 1
    assert {path.name for path in (tmp_path / 'out').glob('*.png')} == {'a.png', 'c.png'}
    for name in 'ac':
        assert (read_picture(tmp_path / f'out/{name}.png').rgb == read_picture(tmp_path / f'free/{name}.png').rgb).all()


@pytest.mark.parametrize('command', ['bank build x -o x.refbank', 'app'])
def test_faces_at_a_time_are_asked_for_where_they_count(command, capsys):
    with pytest.raises(SystemExit, match='2'):
        main([*command.split(), '--batch_size', '2'])
    assert 'unrecognized arguments: --batch_size' in capsys.readouterr().err


def test_inputs_that_would_be_written_to_one_file_are_refused(tmp_path, net, capsys):
    for name in ('a.png', 'a.jpg', 'a_png.png'):
        save(tmp_path / 'in' / name, picture(0))
    assert restore('-i', tmp_path / 'in', '-o', tmp_path / 'out', '-n', net, '--aligned') == 2
    assert 'another input would be written to' in capsys.readouterr().err


def test_edited_masks_are_handed_back(tmp_path, net):
    photo, ref = save(tmp_path / 'a.png', picture(0)), save(tmp_path / 'refs/r.png', picture(1))
    plain, masked = tmp_path / 'plain', tmp_path / 'masked'
    assert restore('-i', photo, '-o', plain, '-n', net, '--aligned') == 0
    save(tmp_path / 'hand/a_00/r.png', np.zeros((SIZE, SIZE), np.uint8))
    save(tmp_path / 'hand/r.png', np.full((SIZE, SIZE), 255, np.uint8))  # of the reference in general: comes second
    flags = ['-n', net, '--aligned', '--ref_mask_dir', tmp_path / 'hand', '--save_mask']
    assert restore('-i', photo, '-r', ref, '-o', masked, *flags) == 0
    assert (read_picture(masked / 'a.png').rgb == read_picture(plain / 'a.png').rgb).all()
    (tmp_path / 'hand/a_00/r.png').unlink()
    assert restore('-i', photo, '-r', ref, '-o', masked, *flags) == 0
    assert (read_picture(masked / 'masks/a_00/r.png').rgb == 255).all()
    save(tmp_path / 'hand/r.png', np.zeros((SIZE, 40), np.uint8))
    assert restore('-i', photo, '-r', ref, '-o', masked, *flags) == 1


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['-i', 'gone.png'], 'gone.png: no such file or folder'),
        (['-i', 'empty'], 'empty: holds no photo or video'),
        (['-r', 'gone'], 'references: gone: no such file or folder'),
        (['-r', 'empty'], 'references: empty: holds no photo'),
        (['-r', 'text.png'], 'no usable reference of references: .*text.png: is not a readable image'),
        (['-n', 'gone.pth'], 'gone.pth: no such file'),
        (['-n', 'text.png'], 'text.png'),
        (['-w', '2'], 'strength must be 0 to 1'),
        (['--fidelity', '0.5'], 'fidelity: RRDBNet has no such control'),
        (['--use', 'eyes,tooth'], "no part 'tooth'"),
        (['--ext', 'xyz'], '--ext xyz: unknown'),
        (['--ref_mask_dir', 'gone'], '--ref_mask_dir gone: no such folder'),
        (['--suffix', '/../x'], 'must not hold a path'),
        (['-o', '.'], 'a.png: would be overwritten'),
        (['-s', '2'], '--upscale: not with --aligned'),
        (['-s', '99'], '--upscale must be 0.1 to 16'),
        (['--bg_upsampler', 'realesrgan'], 'no weights file is configured'),
        (['--batch_size', '0'], '--batch_size must be at least 1'),
        (['--device', 'cuda'], 'there is no GPU'),
        (['--fp16'], 'fp16 needs a GPU'),
        (['--detector', 'gone.onnx'], 'gone.onnx: no such file'),
        (['--identity_weights', 'gone.pt'], 'gone.pt: no such file'),
        (['--identity_threshold', '0.3'], '--identity_threshold 0.3: .*give --identity_weights'),
        (['--on_wrong_identity', 'drop'], '--on_wrong_identity drop: .*give --identity_weights'),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(args, message, tmp_path, net, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'a.png', picture(0))
    (tmp_path / 'text.png').write_text('hello')
    (tmp_path / 'empty').mkdir()
    before = runs.files_under(tmp_path)
    assert restore('-i', 'a.png', '-o', 'out', '-n', net, '--aligned', *args) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and re.search(message, errors[0]), errors
    assert runs.files_under(tmp_path) == before


def test_a_detector_is_asked_for(tmp_path, net, capsys):
    photo = save(tmp_path / 'a.png', picture(0))
    assert restore('-i', photo, '-o', tmp_path / 'out', '-n', net) == 2
    assert 'whole photos need a face detector' in capsys.readouterr().err


@pytest.mark.parametrize('file', ['yunet_n_640_640.onnx', 'detection_mobilenet0.25_Final.pth'])
def test_real_faces_are_found_and_put_back(faces_root, tmp_path, net, file):
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
    for name in ('none', 'dot', 'line'):
        assert (read_picture(tmp_path / f'out/{name}.png').rgb == read_picture(tmp_path / f'in/{name}.png').rgb).all()
    found = FaceDetector(str(weights))(scene)
    assert len(found) == 1 and found[0].score > 0.7


def test_two_people_on_a_photo_get_their_own_references(faces_root, tmp_path, net):
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
    assert [face['person'] for face in faces] == list(people)
    assert [[ref['name'] for ref in face['references']] for face in faces] == [
        [str(tmp_path / f'refs/{name}/smile.png')] for name in people
    ]
    assert all(face['same_person'] for face in faces)
    before, after = read_picture(photo).rgb, read_picture(tmp_path / 'out/pair.png').rgb
    changed = (before != after).any(2)
    for face in faces:
        crop, matrix, _ = cut(before, np.array(face['points']), SIZE)
        pasted = paste(before.copy(), crop, matrix, feather(SIZE)) > 0
        assert changed[pasted].mean() > 0.5
        changed &= cv2.dilate(pasted.astype(np.uint8), np.ones((5, 5))) == 0  # the record's points are rounded
    assert not changed.any()
