"""References: unusable photos left out, people grouped, names unique."""

import cv2
import numpy as np
import pytest
from helpers.restoring import SIZE, Detector, face_at, hue_checker, network, picture, save

from refstar import RefStarError
from refstar.restore.faces import FaceAttributes
from refstar.restore.input_files import printable, unique
from refstar.restore.matching import rank
from refstar.restore.references import FaceReader
from refstar.restore.restore_report import mask_names
from refstar.restore.restorer import Restorer


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer(network())


def test_unusable_references_are_left_out_with_reasons(tmp_path):
    sharp = picture(1, 128, 128)
    blurred = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 6, 3)).astype(np.uint8), (128, 128))
    save(tmp_path / 'a.png', sharp)
    save(tmp_path / 'b.jpg', np.clip(sharp.astype(int) + 12, 0, 255).astype(np.uint8), quality=90)
    save(tmp_path / 'c.png', blurred)
    save(tmp_path / 'd.png', picture(3, 64, 128))
    (tmp_path / 'e.png').write_bytes(b'')
    save(tmp_path / 'f.png', picture(4, 128, 128))
    person = FaceReader(64).read_references(sorted(tmp_path.iterdir()))[0]
    assert {ref.name[-5:] for ref in person.references} in ({'a.png', 'f.png'}, {'b.jpg', 'f.png'})
    reasons = ' '.join(sorted(why for why in person.dropped.values()))
    for why in ('the same photo as', 'blurred', 'not square', 'not a readable image'):
        assert why in reasons
    with pytest.raises(RefStarError, match=r'no usable photo of .*references.*d.png: .*not square'):
        Restorer(network()).people([tmp_path / 'd.png'])
    with pytest.raises(RefStarError, match='no such file or folder'):
        Restorer(network()).people([tmp_path / 'gone'])


def test_faces_are_grouped_by_person():
    """A folder of photos of two people, one of them a group photo: three people's faces, two people with photos."""
    faces = {40: [face_at(2, 2, 32)], 120: [face_at(0, 0, 32), face_at(40, 0, 32), face_at(80, 0, 31)]}
    group = np.hstack([picture(5, 40, 40, 0), picture(6, 40, 40, 1), picture(7, 40, 40, 2)])
    photos = [picture(1, 40, 40, 0), picture(2, 40, 40, 0), picture(3, 40, 40, 1), group]
    reader = FaceReader(SIZE, Detector(faces), hue_checker())
    people = reader.read_references(photos, 'album')
    assert [len(person.references) for person in people] == [3, 2, 1]
    assert people[2].references[0].name == 'album 4 (face 3 of 3)'
    alone = reader.read_references(photos, 'anna', one_person=True)
    assert len(alone) == 1 and len(alone[0].references) == 3
    assert 'another person than the other photos' in alone[0].dropped['album 3'.replace('album', 'anna')]
    unchecked = FaceReader(SIZE, Detector(faces)).read_references(photos, 'anna')[0]
    assert len(unchecked.references) == 4 and len(unchecked.dropped) == 2  # the largest face of each photo
    with pytest.raises(RefStarError, match='no face found'):
        reader.read_references([picture(1, 40, 41)], 'nobody')


def test_names_are_unique_and_printable(restorer, tmp_path):
    assert unique(['a', 'b', 'a', 'a (2)', 'a'], ['b']) == ['a', 'b (2)', 'a (2)', 'a (2) (2)', 'a (3)']
    assert mask_names(['x/r.png', 'y/r.jpg', 'y/attribution.png', 'r_2.png']) == ['r', 'r_2', 'attribution_2', 'r_2_2']
    assert printable('a\x1b[31m\u202e\nb' + 'c' * 200) == 'a_[31m__b' + 'c' * 91
    folders = [save(tmp_path / place / 'alice/1.png', picture(i)).parent for i, place in enumerate('ab')]
    people = restorer.people(folders)
    assert [person.name for person in people] == ['alice', 'alice (2)']
    again = restorer.people([*people, folders[0]])
    assert [person.name for person in again] == ['alice', 'alice (2)', 'alice (3)']
    photo = folders[0] / '1.png'
    twice = restorer.people([photo, photo])[0]
    assert [ref.name for ref in twice.references] == [str(photo)]
    assert twice.dropped == {f'{photo} (2)': f'the same photo as {photo}'}


def test_most_useful_references_come_first():
    reader = FaceReader(SIZE)
    person = reader.read_references([picture(1), picture(2), picture(3)], 'x')[0]
    order = [choice.reference.name for choice in rank(reader.face(picture(1)), person)]
    assert order[0] == 'x 1'  # the same light
    few = Restorer(network())(picture(1), [picture(1), picture(2), picture(3)], num_refs=2)
    assert len(few.chosen) == 2 and 'less useful than 2 others' in few.dropped.values()


def test_pose_and_expression_come_from_five_points():
    img = picture(0, 64, 64)
    straight = np.array([(20, 28), (44, 28), (32, 38), (24, 48), (40, 48)], float)
    turned, smiling = straight.copy(), straight.copy()
    turned[2, 0] += 6
    smiling[3, 0], smiling[4, 0] = 20, 44
    looks = [FaceAttributes.measure(img, points) for points in (straight, turned, smiling)]
    assert looks[0].yaw == pytest.approx(0) and looks[1].yaw == pytest.approx(0.25)
    assert looks[2].smile > looks[0].smile
    same, other, laugh = (looks[0].fit_of(look) for look in looks)
    assert same['pose'] == 1 and other['pose'] < 0.4 and laugh['expression'] < 0.5 and laugh['pose'] == 1
