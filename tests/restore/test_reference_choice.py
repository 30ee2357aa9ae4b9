"""The choice of references for one face."""

import numpy as np
import pytest
from helpers.restoring import SIZE, network, picture

from refstar.restore.faces import FaceAttributes
from refstar.restore.references import FaceReader, rank
from refstar.restore.restorer import Restorer


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
