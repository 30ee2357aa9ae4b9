from types import SimpleNamespace

import pytest

from refstar.restore import matching
from refstar.restore.faces import IdentityVerdict

A, B = SimpleNamespace(name='a'), SimpleNamespace(name='b')


@pytest.mark.parametrize(
    ('likely', 'expected'),
    [
        ([[0.9, 0.2], [0.3, 0.8]], [A, B]),
        ([[0.9, 0.2], [0.6, 0.1]], [A, None]),  # a second face that is rather A than not, but A is taken
        ([[0.999, 0.0], [0.995, 0.1]], [A, A]),  # surely A, twice
        ([[0.999, 0.2], [0.996, 0.994]], [A, B]),  # two who look alike
    ],
)
def test_faces_of_a_photo_are_matched_with_people(monkeypatch, likely, expected):
    faces = [SimpleNamespace(embedding=row) for row in likely]
    monkeypatch.setattr(
        matching, 'compare', lambda row, person, checker: IdentityVerdict(probability=row[[A, B].index(person)])
    )
    found = matching.match_people(faces, [A, B], object(), alone=False)
    assert [person for person, _ in found] == expected
