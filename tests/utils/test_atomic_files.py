"""Files are there whole or not at all, whatever happens while they are written."""

from pathlib import Path

import pytest

from refstar.utils import atomic_files


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with atomic_files.new_file(path) as file:
        file.write(b'new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new' and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('error', [OSError, RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(error), atomic_files.new_file(path) as file:
        file.write(b'half')
        raise error
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / 'folder/inner').mkdir(parents=True)
    with pytest.raises(OSError):
        atomic_files.write_atomically(tmp_path / 'folder', b'x')
    assert [path.name for path in tmp_path.iterdir()] == ['folder']
