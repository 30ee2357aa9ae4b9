"""YAML files: plain values in the order of the file, or one clear line."""

from pathlib import Path

import pytest

from refstar import RefStarError
from refstar.utils.yaml_files import read_yaml_file


def test_order_numbers_dates_and_aliases(tmp_path: Path) -> None:
    file = tmp_path / 'x.yml'
    file.write_text('b: 1e-4\na: !!float 2e-3\nd: 2026-11-21\nc: &c {z: 1, y: 2}\ne: {<<: *c, z: 3}\n')
    content = read_yaml_file(file)
    assert list(content) == ['b', 'a', 'd', 'c', 'e'] and list(content['c']) == ['z', 'y']
    assert content == {'b': 1e-4, 'a': 2e-3, 'd': '2026-11-21', 'c': {'z': 1, 'y': 2}, 'e': {'z': 3, 'y': 2}}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ("name: !!python/object/apply:os.mkdir ['evil']", 'no valid YAML'),
        ('a: [1', 'no valid YAML'),
        ('a: 1\nb: 2\na: 3', "key 'a' is given twice"),
        ('? [a]\n: b', 'no valid YAML'),
        ('a: !!int x', 'a value cannot be read'),
        ('a: !!timestamp 2026-13-45', 'a value cannot be read'),
        ('just a line', 'expected options'),
    ],
)
def test_wrong_files_are_one_clear_line(tmp_path: Path, monkeypatch, text: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path('x.yml').write_text(text)
    with pytest.raises(RefStarError, match=message) as error:
        read_yaml_file('x.yml')
    assert str(error.value).startswith('x.yml: ') and '\n' not in str(error.value)
    assert not Path('evil').exists()
