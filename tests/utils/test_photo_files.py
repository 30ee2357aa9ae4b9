"""Which files of a folder are photos: readable suffixes, nothing hidden, no folder of a system or tool."""

import pytest

from refstar.utils.errors import RefStarError
from refstar.utils.photo_files import folders_in, images_in


def test_photos_come_in_natural_order_whatever_their_case(tmp_path):
    for name in ('10.png', '2.JPG', 'a.gif', 'notes.txt', 'png', '._2.png', '.hidden.jpg', 'Thumbs.db'):
        (tmp_path / name).touch()
    assert [path.name for path in images_in(tmp_path)] == ['2.JPG', '10.png', 'a.gif']


def test_folders_of_systems_and_tools_are_left_out(tmp_path):
    for name in ('bob', 'ann2', 'ann10', '.git', '@eaDir', '__MACOSX', '.@__thumb', 'Thumbs.db', '@ann'):
        (tmp_path / name).mkdir()
    assert [path.name for path in folders_in(tmp_path)] == ['@ann', 'ann2', 'ann10', 'bob']


@pytest.mark.parametrize('read', [images_in, folders_in])
def test_unreadable_folder_is_named(tmp_path, read):
    with pytest.raises(RefStarError, match='gone: cannot be read'):
        read(tmp_path / 'gone')
