"""Option files and `--force_yml`: read as plain values."""

import pytest
import yaml
from helpers import runs

from refstar.trainer.option_file import load_options, parse_value
from refstar.utils.errors import RefStarError


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1e-4', 1e-4),
        ('!!float1e-4', 1e-4),
        ('!!float 5', 5.0),
        ('2.', 2.0),
        ('8', 8),
        ('true', True),
        ('~', None),
        ('None', None),
        ('[1, 2e3, a]', [1, 2000.0, 'a']),
        ('datasets/a=b.png', 'datasets/a=b.png'),
        ('__import__("os").getcwd()', '__import__("os").getcwd()'),
    ],
)
def test_forced_values_are_literals(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value and type(parsed) is type(value)


def test_force_yml_sets_and_names_what_is_wrong(tmp_path) -> None:
    path = runs.FIXTURES / 'sr_tiny.yml'
    opt = load_options(path, ['train:optim_g:lr=1e-4', 'datasets:train:dataroot_gt=a=b', 'train:warmup_iter=3'])
    assert opt['train']['optim_g']['lr'] == 1e-4 and opt['datasets']['train']['dataroot_gt'] == 'a=b'
    assert opt['train']['warmup_iter'] == 3
    for entry, message in {
        'trian:total_iter=3': "no block 'trian'; nearest: train",
        'train:total_iter:x=3': "no block 'total_iter'",
        'train:total_iter': 'expected a:b=value',
        'train:total_iter=[1': '--force_yml train:total_iter=',
    }.items():
        with pytest.raises(RefStarError) as error:
            load_options(path, [entry])
        assert message in str(error.value), entry


def test_a_date_is_text(tmp_path) -> None:
    file = tmp_path / 'x.yml'
    file.write_text('name: 2026-13-45\nother: 2026-11-21\n')
    assert load_options(file) == {'name': '2026-13-45', 'other': '2026-11-21'}


def test_upstream_reader_uses_the_safe_loader(tmp_path) -> None:
    from basicsr.utils.options import ordered_yaml

    with pytest.raises(yaml.YAMLError):
        yaml.load('!!python/object/apply:os.getcwd []', Loader=ordered_yaml()[0])
