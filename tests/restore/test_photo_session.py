"""One user's photo step by step: what is restored is what `refstar restore` restores."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.app_serving import FIVE, ONE, TWO, file_of, pixels_of, restored, small_restorer
from helpers.restoring import SIZE, picture, save

from refstar.restore.faces import RestoreSettings
from refstar.restore.photo_session import PhotoSession
from refstar.utils.errors import RefStarError

PHOTO, REF, SECOND = picture(1, 72, ONE, 0), picture(2, SIZE, SIZE, 0), picture(4, SIZE, SIZE, 0)
OTHER, COUPLE = picture(3, SIZE, SIZE, 1), np.hstack([picture(1, 72, 64, 0), picture(2, 72, 64, 1)])
GROUP = np.hstack([picture(10 + i, 60, 40, (2, 0, 1, 2, 2)[i]) for i in range(5)])
PLAIN, NOTHING = RestoreSettings(), np.zeros((SIZE, SIZE), np.float32)


@pytest.fixture
def start(tmp_path):
    """Make a session with a photo and references, all of one name."""

    def start(photo: np.ndarray, *references: np.ndarray, restorer=None) -> PhotoSession:
        session = PhotoSession(restorer or small_restorer(), 25_000_000)
        session.take_photo(save(tmp_path / 'old photo.png', photo))
        session.take_references([save(tmp_path / f'{i}/a.png', img) for i, img in enumerate(references)])
        return session

    return start


@pytest.fixture
def session(start):
    return start(PHOTO, REF)


def test_photo_is_restored_as_the_command_does(start):
    session, settings = start(PHOTO, REF, SECOND), {'strength': 0.7, 'keep': ('mouth',)}
    session.restore(RestoreSettings(**settings))
    assert np.array_equal(pixels_of(session.picture()), restored(PHOTO, [REF, SECOND], **settings))


def test_each_face_gets_the_references_of_its_person(start):
    session = start(COUPLE, GROUP)
    for session.face in range(2):
        session.restore(PLAIN)
    assert GROUP.shape[1] == FIVE and np.array_equal(pixels_of(session.picture()), restored(COUPLE, [GROUP]))


def test_aligned_photo_needs_no_detector(start):
    photo, restorer = picture(1, 2 * SIZE, 2 * SIZE), small_restorer(False, False)
    session = start(photo, REF, restorer=restorer)
    session.restore(RestoreSettings(strength=0.5))
    expected = restorer.restore_photo(photo, [REF], strength=0.5, aligned=True).picture.rgb
    assert expected.shape == photo.shape and np.array_equal(pixels_of(session.picture()), expected)


def test_record_says_what_the_user_chose(session):
    session.restore(RestoreSettings(strength=0.7, keep=('mouth',)), ['a.png'])
    record = json.loads(session.record('net.safetensors'))
    face = record['faces'][0]
    assert (record['input'], record['network']) == ('old photo.png', 'net.safetensors')
    assert (face['strength'], face['keep'], face['references_by_hand']) == (0.7, ['mouth'], True)


def test_photos_of_one_name_get_names_of_their_own(start):
    names = {face.name for face in start(PHOTO, REF, SECOND).reference_faces()}
    assert names == {'a.png', 'a.png (2)'}


def test_reasons_are_given_for_every_reference(start):
    shown = start(PHOTO, GROUP).restore(PLAIN)
    assert shown.why('a.png (face 2 of 5)').startswith('fits by')
    assert shown.why('a.png (face 1 of 5)') == 'not the person of this face'


def test_reference_chosen_by_hand_is_used_with_a_warning(start):
    face = start(PHOTO, OTHER).restore(PLAIN, ['a.png']).best
    assert not face.identity.same and 'used all the same' in face.notes[0]


def test_another_person_is_shown_and_not_used(session, tmp_path):
    expected = session.restore(PLAIN).best.image
    session.take_references([save(tmp_path / 'other.png', OTHER)], others=True)
    shown = session.restore(PLAIN)
    assert list(shown.arms) == ['without', 'with', 'wrong'] and np.array_equal(shown.best.image, expected)


def test_empty_painted_mask_is_the_result_without(session):
    before = session.restore(PLAIN).best.image
    session.paint('a.png', NOTHING)
    arms = session.restore(PLAIN).arms
    assert np.array_equal(arms['with'].image, arms['without'].image)
    session.paint('a.png', None)  # taken back
    assert np.array_equal(session.restore(PLAIN).best.image, before)


def test_without_references_is_the_backbone_alone(session):
    assert 'with' in session.restore(PLAIN).arms and 'with' not in session.restore(PLAIN, []).arms
    session.take_references([])
    assert 'with' not in session.restore(PLAIN).arms


@pytest.mark.parametrize('data', [b'', b'hello', file_of(PHOTO)[:-300], file_of(picture(0, 10, 11))])
def test_bad_photo_is_refused_and_the_old_one_stays(session, tmp_path, data):
    (tmp_path / 'x.png').write_bytes(data)
    with pytest.raises(RefStarError, match=r'x\.png'):
        session.take_photo(tmp_path / 'x.png')
    assert session.name == 'old photo.png'


def test_of_bad_and_good_references_the_good_are_taken(start, tmp_path):
    session, bad = start(PHOTO), Path(tmp_path / 'b.png')
    bad.write_bytes(b'no picture')
    with pytest.raises(RefStarError, match=r'b\.png'):
        session.take_references([bad, save(tmp_path / 'a.png', REF)])
    assert [face.name for face in session.reference_faces()] == ['a.png']


def test_second_photo_forgets_the_first(session, tmp_path):
    session.restore(PLAIN)
    session.take_photo(save(tmp_path / 'two.png', COUPLE))
    assert COUPLE.shape[1] == TWO and not session.shown and len(session.faces) == 2
