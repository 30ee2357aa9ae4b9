"""Videos: faces keep their references, correspondence is carried on, files come out whole."""

import json
import sys

import numpy as np
import pytest
from helpers.restoring import SIZE, Detector, face_at, hue_checker, network, network_file, picture, save

from refstar import RefStarError
from refstar.restore import video
from refstar.restore.alignment import FaceDetector
from refstar.restore.face_tracking import MAX_DOUBTS
from refstar.restore.faces import RestoreSettings
from refstar.restore.photo import PhotoSettings
from refstar.restore.restorer import Restorer
from refstar.tools.cli import main

FRAMES = 6


def frames(noise: float = 0.0, count: int = FRAMES) -> list[np.ndarray]:
    """Two people side by side, 64x128, with fresh noise in every frame."""
    still = np.hstack([picture(1, 64, 64, 0), picture(2, 64, 64, 1)]).astype(float)
    rng = np.random.default_rng(0)
    return [np.clip(still + noise * rng.normal(size=still.shape), 0, 255).astype(np.uint8) for _ in range(count)]


def two_faces(shift: float = 0.0) -> list:
    return [face_at(16 + shift, 16, 32), face_at(80 + shift, 16, 32)]


@pytest.fixture
def restorer() -> Restorer:
    return Restorer(
        network(), identity_checker=hue_checker(), detector=Detector({128: two_faces(), 40: [face_at(4, 4, 32)]})
    )


def test_faces_keep_their_references(restorer):
    people = restorer.people([picture(4, 40, 40, 1), picture(5, 40, 40, 0)])
    one = video.VideoRestorer(restorer, people, RestoreSettings(), PhotoSettings(batch_size=2))
    for number, frame in enumerate(frames(20)):
        restorer.detector.faces[128] = two_faces(number) if number != 2 else two_faces(number)[:1]  # one is missed
        out = one(frame)
        assert out.shape == frame.shape and (out != frame).any()
    record = one.record()
    assert [track['frames'] for track in record] == [FRAMES, FRAMES - 1]
    names = {track['box'][0] > 60: [ref['name'] for ref in track['references']] for track in record}
    assert names == {False: ['references 2'], True: ['references 1']}
    assert all(track['same_person'] for track in record)


def test_carrying_reduces_flicker_and_follows_a_cut(restorer):
    people, outputs = restorer.people([picture(4, 40, 40, 1), picture(5, 40, 40, 0)]), {}
    for carry in (False, True):
        one = video.VideoRestorer(restorer, people, RestoreSettings(), PhotoSettings(), carry)
        outputs[carry] = np.array([one(frame) for frame in [*frames(8), 255 - frames()[0]]]).astype(float)
        outputs[carry] = outputs[carry][:, 26:42, 24:40]  # the middle of a face
    flicker = {carry: np.abs(np.diff(out[:-1], axis=0)).mean() for carry, out in outputs.items()}
    assert flicker[True] < 0.85 * flicker[False]
    assert np.abs(outputs[True][-1] - outputs[False][-1]).mean() < 2  # a cut is followed at once
    assert 'predict' not in vars(restorer.net.refsel)  # the network is as it was


def test_still_video_stays_still(restorer):
    people = restorer.people([picture(4, 40, 40, 1), picture(5, 40, 40, 0)])
    one = video.VideoRestorer(restorer, people, RestoreSettings(), PhotoSettings())
    again = [one(frames()[0]) for _ in range(3)]
    assert np.abs(again[0].astype(int) - again[2]).max() <= 1


def test_strangers_and_small_faces_are_left(restorer):
    restorer.detector.faces[128] = [face_at(16, 16, 32), face_at(80, 16, 28)]
    people = restorer.people([picture(4, 40, 40, 1)])  # of the second face
    for settings, wanted in ((PhotoSettings(), [False, True]), (PhotoSettings(min_face=30), [True])):
        one = video.VideoRestorer(restorer, people, RestoreSettings(), settings)
        for frame in frames(5, 2):
            out = one(frame)
        assert [track['restored'] for track in one.record()] == wanted
        assert (out != frame)[:, :64].any() == (settings.min_face > 0)  # alone, it is taken for the person


def test_masks_can_be_edited_in_videos(restorer):
    people = restorer.people([picture(4, 40, 40, 1), picture(5, 40, 40, 0)])
    one = video.VideoRestorer(restorer, people, RestoreSettings(keep=['mouth']), PhotoSettings(batch_size=2))
    assert [one(frame).shape for frame in frames(count=2)] == [(64, 128, 3)] * 2


def test_references_are_chosen_again_after_a_cut(restorer):
    people = restorer.people([picture(4, 40, 40, 1), picture(5, 40, 40, 0)])
    one = video.VideoRestorer(restorer, people, RestoreSettings(), PhotoSettings())
    scenes = [frames(20, 3), [np.hstack([f[:, 64:], f[:, :64]]) for f in frames(20, 3)], frames(20, 2)]
    for frame in (frame for scene in scenes for frame in scene):  # at the very same places
        one(frame)
    record = one.record()
    assert [(track['frames'], track['last_frame']) for track in record] == [(3, 2)] * 2 + [(3, 5)] * 2 + [(2, 7)] * 2
    names = [track['references'][0]['name'] for track in sorted(record, key=lambda t: (t['track'] // 2, t['box'][0]))]
    assert names == ['references 2', 'references 1', 'references 1', 'references 2', 'references 2', 'references 1']
    assert all(track['same_person'] for track in record)


def test_doubtful_frames_end_a_track(restorer):
    people, still = restorer.people([picture(4, 40, 40, 1)]), picture(1, 64, 128, 2)
    alike = still.copy()
    alike[..., 0] += 100  # cosine 0.5 to the face before
    restorer.detector.faces[128] = two_faces()[:1]
    for doubtful, wanted in ((MAX_DOUBTS - 1, [7]), (MAX_DOUBTS, [6, 2])):
        one = video.VideoRestorer(restorer, people, RestoreSettings(), PhotoSettings())
        for frame in [still] * 4 + [alike] * doubtful + [still]:
            one(frame)
        assert [track['frames'] for track in one.record()] == wanted


def test_tracking_by_place_without_identity_network():
    restorer = Restorer(network(), detector=Detector({128: two_faces()}))
    one = video.VideoRestorer(restorer, restorer.people([]), RestoreSettings(), PhotoSettings())
    for frame in [*frames(count=2), 255 - frames()[0]]:
        one(frame)
    assert [track['frames'] for track in one.record()] == [3, 3]


def test_too_large_frames_are_refused(restorer, monkeypatch):
    monkeypatch.setattr(restorer, 'max_pixels', 2 * 64 * 2 * 128 - 1)
    with pytest.raises(RefStarError, match=r'a frame, enlarged: 256x128 is too large \(limit: 32767 pixels\)'):
        video.VideoRestorer(restorer, [], RestoreSettings(), PhotoSettings(upscale=2))(frames()[0])


@pytest.fixture
def clip(tmp_path):
    """A video file of odd size with sound."""
    av = pytest.importorskip('av')
    path = tmp_path / 'clip ü.mp4'
    with av.open(str(path), 'w') as file:
        pictures, sound = file.add_stream('mpeg4', rate=10), file.add_stream('aac', rate=8000)
        pictures.width, pictures.height, pictures.pix_fmt = 128, 64, 'yuv420p'
        for img in frames():
            file.mux(pictures.encode(av.VideoFrame.from_ndarray(img, format='rgb24')))
        tone = (np.sin(np.arange(4800) / 5) * 0.3).astype(np.float32)[None]
        samples = av.AudioFrame.from_ndarray(tone, format='fltp', layout='mono')
        samples.rate = 8000
        file.mux(sound.encode(samples))
        file.mux(pictures.encode(None))
        file.mux(sound.encode(None))
    return path


def test_command_restores_video_and_copies_sound(clip, tmp_path, monkeypatch, capsys):
    import av

    net, out = network_file(tmp_path), tmp_path / 'out'
    monkeypatch.setattr(FaceDetector, '__init__', lambda self, *args: None)
    monkeypatch.setattr(FaceDetector, '__call__', Detector({128: two_faces(), SIZE: [face_at(0, 0, SIZE)]}).__call__)
    save(tmp_path / 'ref.png', picture(4))
    flags = ['-r', tmp_path / 'ref.png', '-o', out, '-n', net, '--detector', 'fake', '-s', '1.5']
    assert main(['restore', '-i', str(clip), *map(str, flags)]) == 0
    assert {p.name for p in out.iterdir()} == {'clip ü.mp4', 'clip ü.json'}
    with av.open(str(out / 'clip ü.mp4')) as file:
        assert len(file.streams.audio) == 1 and file.streams.video[0].average_rate == 10
        shown = [frame.to_ndarray(format='rgb24') for frame in file.decode(video=0)]
    with av.open(str(out / 'clip ü.mp4')) as file:
        assert sum(frame.samples for frame in file.decode(audio=0)) >= 4800
    assert len(shown) == FRAMES and shown[0].shape == (96, 192, 3)
    record = json.loads((out / 'clip ü.json').read_text())
    assert record['frames'] == FRAMES and [track['frames'] for track in record['faces']] == [FRAMES] * 2
    (tmp_path / 'broken.mp4').write_bytes(clip.read_bytes()[:300])
    (tmp_path / 'text.mp4').write_text('hello')
    for name in ('broken', 'text'):
        assert main(['restore', '-i', str(tmp_path / f'{name}.mp4'), *map(str, flags)]) == 1
        assert f'{name}.mp4: is not a readable video' in capsys.readouterr().err
    assert {p.name for p in out.iterdir()} == {'clip ü.mp4', 'clip ü.json'}


def test_rotated_frames_are_turned_upright():
    img = picture(0, 8, 12)
    assert (video.upright(img, -90) == np.rot90(img, -1)).all() and (video.upright(img, 0.0) == img).all()
    assert video.upright(img, 90).shape == (12, 8, 3) and video.pad_to_even(picture(0, 7, 9)).shape == (8, 10, 3)


def test_missing_pyav_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(RefStarError, match=r"pip install 'refstar\[video\]'"):
        video.restore_video(tmp_path / 'a.mp4', tmp_path / 'b.mp4', lambda frame: frame, 100)
