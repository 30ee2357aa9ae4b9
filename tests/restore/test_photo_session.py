"""One user's photo step by step: what is restored is what `refstar restore` restores."""

import gc
import json
import weakref

import numpy as np
import pytest
from helpers.app_serving import FIVE, ONE, TWO, file_of, pixels_of, restored, small_restorer
from helpers.restoring import SIZE, picture

from refstar.restore.faces import RestoreSettings
from refstar.restore.photo_session import PhotoSession
from refstar.restore.restorer import Restorer
from refstar.utils.errors import RefStarError

PHOTO, REF, OTHER = picture(1, 72, ONE, 0), picture(2, SIZE, SIZE, 0), picture(3, SIZE, SIZE, 1)
PLAIN = RestoreSettings()


def given(*images: np.ndarray) -> dict:
    """References as a page hands them in, all of one name."""
    return {str(i): ('a.png', lambda img=img: file_of(img)) for i, img in enumerate(images)}


def new_session(photo: np.ndarray = PHOTO, *references: np.ndarray, restorer: Restorer | None = None) -> PhotoSession:
    session = PhotoSession(restorer or small_restorer(), 25_000_000)
    session.take_photo(file_of(photo), 'old photo.png')
    session.take_references(given(*references))
    return session


def test_photo_is_restored_as_the_command_does():
    session = new_session(PHOTO, REF, picture(4, SIZE, SIZE, 0))
    settings = {'strength': 0.7, 'keep': ('mouth',)}
    session.restore(RestoreSettings(**settings))
    expected = restored(PHOTO, [REF, picture(4, SIZE, SIZE, 0)], **settings)
    assert np.array_equal(pixels_of(session.picture()), expected)


def test_record_says_what_the_user_chose():
    session = new_session(PHOTO, REF)
    session.restore(RestoreSettings(strength=0.7, keep=('mouth',)), ['a.png'])
    record = json.loads(session.record('net.safetensors'))
    face = record['faces'][0]
    assert (record['input'], record['network']) == ('old photo.png', 'net.safetensors')
    assert (face['strength'], face['keep'], face['references_by_hand']) == (0.7, ['mouth'], True)


def test_photos_of_one_name_get_names_of_their_own():
    session = new_session(PHOTO, REF, picture(4, SIZE, SIZE, 0))
    assert set(session.restore(PLAIN).whys) == {'a.png', 'a.png (2)'}


def test_each_face_gets_the_references_of_its_person():
    photo = np.hstack([picture(1, 72, 64, 0), picture(2, 72, 64, 1)])
    group = np.hstack([picture(10 + i, 60, 40, (2, 0, 1, 2, 2)[i]) for i in range(5)])
    session = new_session(photo, group)
    for session.face in range(2):
        session.restore(PLAIN)
    assert np.array_equal(pixels_of(session.picture()), restored(photo, [group]))


def test_reasons_are_given_for_every_reference():
    group = np.hstack([picture(10 + i, 60, 40, (2, 0, 1, 2, 2)[i]) for i in range(5)])
    whys = new_session(PHOTO, group).restore(PLAIN).whys
    assert whys['a.png (face 2 of 5)'].startswith('fits by')
    assert whys['a.png (face 1 of 5)'] == 'not the person of this face'


def test_reference_chosen_by_hand_is_used_with_a_warning():
    session = new_session(PHOTO, OTHER)
    face = session.restore(PLAIN, ['a.png']).best
    assert not face.identity.same and 'used all the same' in face.notes[0]


def test_nothing_chosen_is_the_backbone_alone():
    assert 'with' not in new_session(PHOTO, REF).restore(PLAIN, []).arms


def test_another_person_is_shown_and_not_used():
    session = new_session(PHOTO, REF)
    expected = session.restore(PLAIN).best.image
    session.take_references(given(OTHER), others=True)
    shown = session.restore(PLAIN)
    assert list(shown.arms) == ['without', 'with', 'wrong'] and np.array_equal(shown.best.image, expected)


def test_empty_painted_mask_is_the_result_without_references():
    session = new_session(PHOTO, REF)
    session.paint('a.png', np.zeros((SIZE, SIZE), np.float32))
    arms = session.restore(PLAIN).arms
    assert np.array_equal(arms['with'].image, arms['without'].image)


def test_painted_mask_is_taken_back():
    session = new_session(PHOTO, REF)
    before = session.restore(PLAIN).best.image
    session.paint('a.png', np.zeros((SIZE, SIZE), np.float32))
    session.restore(PLAIN)
    session.paint('a.png', None)
    assert np.array_equal(session.restore(PLAIN).best.image, before)


def test_unchanged_arms_are_not_restored_again(monkeypatch):
    restorer, ran = small_restorer(), []
    session, run = new_session(PHOTO, REF, restorer=restorer), restorer.engine.run
    monkeypatch.setattr(restorer.engine, 'run', lambda faces, how: ran.append(how.strength) or run(faces, how))
    for strength in (0.2, 0.5, 0.5):
        session.restore(RestoreSettings(strength=strength))
    assert ran == [0, 0.2, 0.5]


def test_removed_reference_is_not_used():
    session = new_session(PHOTO, REF)
    session.restore(PLAIN)
    session.take_references({})
    assert 'with' not in session.restore(PLAIN).arms


def test_encoded_references_are_freed():
    """The restorer, which other sessions share, does not keep a reference whose session is over."""
    restorer = small_restorer()
    session = new_session(PHOTO, REF, restorer=restorer)
    reference = weakref.ref(session.restore(PLAIN).best.chosen[0].reference)
    assert reference().encoded is not None
    del session
    gc.collect()
    assert reference() is None


def test_aligned_photo_needs_no_detector():
    photo, ref = picture(1, 2 * SIZE, 2 * SIZE), picture(2, SIZE, SIZE)
    session = new_session(photo, ref, restorer=small_restorer(False, False))
    session.restore(RestoreSettings(strength=0.5))
    direct = small_restorer(False, False)(photo, [ref], strength=0.5)
    assert np.array_equal(pixels_of(session.picture()), direct.image)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', r'x\.png'),
        (b'hello', r'x\.png'),
        (file_of(PHOTO)[:-300], r'x\.png'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n', r'x\.png'),
        (file_of(picture(0, 10, 11)), 'no face was found'),
    ],
)
def test_bad_photo_is_refused_and_the_old_one_stays(data, message):
    session = new_session()
    with pytest.raises(RefStarError, match=message):
        session.take_photo(data, 'x.png')
    assert session.name == 'old photo.png'


def test_of_bad_and_good_references_the_good_are_taken():
    session = new_session()
    with pytest.raises(RefStarError, match=r'b\.png'):
        session.take_references(given(REF) | {'b': ('b.png', lambda: b'no picture')})
    assert session.restore(PLAIN).whys.keys() == {'a.png'}


def test_of_a_crowd_the_largest_faces_are_looked_at(monkeypatch):
    monkeypatch.setattr('refstar.restore.photo_session.MAX_FACES', 3)
    session = new_session(np.hstack([picture(10 + i, 60, 40, 0) for i in range(5)]))
    assert FIVE == 200 and len(session.found) == 3


def test_second_photo_forgets_the_first():
    session = new_session(PHOTO, REF)
    session.restore(PLAIN)
    session.take_photo(file_of(np.hstack([picture(1, 72, 64, 0), picture(2, 72, 64, 1)])), 'two.png')
    assert TWO == 128 and not session.shown and len(session.found) == 2
