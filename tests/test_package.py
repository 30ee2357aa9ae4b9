"""The package: light import, registration in BasicSR, nothing but `refstar` in site-packages."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import runs

ROOT = Path(__file__).parents[1]
EXPECTED = ('RefSTAR', 'SyntheticFaceDataset', 'SelectionLoss', 'calculate_detail', 'RefSTARModel')  # one per registry


def _setup_folders() -> dict[str, str]:
    """FOLDERS of setup.py, read without running it."""
    block = re.search(r'FOLDERS = (\{.*?\})', (ROOT / 'setup.py').read_text(), re.S).group(1)
    return dict(re.findall(r"'([\w.]+)': '([\w/]+)'", block))


def test_import_is_light_and_touches_no_heavy_library(tmp_path: Path) -> None:
    code = "import refstar, sys; print(sorted({'torch', 'numpy', 'cv2', 'basicsr', 'yaml'} & set(sys.modules)))"
    assert runs.succeeded(runs.python('-c', code, cwd=tmp_path)).strip() == '[]'


def test_restoring_waits_for_no_library_that_it_does_not_need(tmp_path: Path) -> None:
    """BasicSR with torchvision and scipy, and torch's compiler, take longer to import than a photo to restore."""
    needless = {'basicsr', 'torchvision', 'scipy', 'torch._dynamo', 'gfpgan', 'facexlib', 'jinja2'}
    opened = 'import sys; from refstar.restore.batch import Restorer; Restorer.from_pretrained()'
    code = f'{opened}; print({needless} & {{*sys.modules}})'
    assert runs.succeeded(runs.python('-c', code, cwd=tmp_path)).strip() == 'set()'


@pytest.mark.parametrize('program', ['basicsr', 'refstar'])
def test_help_imports_no_torch(program: str, tmp_path: Path) -> None:
    entry = {'basicsr': 'basicsr', 'refstar': 'main'}[program]
    code = f"import sys; from refstar.tools.cli import {entry}; {entry}(['--help']); assert 'torch' not in sys.modules"
    out = runs.succeeded(runs.python('-c', code, cwd=tmp_path))
    assert f'usage: {program} <command>' in out and '  train  ' in out


@pytest.mark.parametrize(
    'first',
    [
        'import refstar, basicsr',
        'import refstar.refstar_arch',  # a registered module, which imports basicsr half-way
        'from refstar import RefSTAR',
        'import refstar, gfpgan',
        "import sys, types; sys.modules['torchvision.transforms.functional_tensor'] = m = types.ModuleType('x'); "
        'm.rgb_to_grayscale = None; import basicsr, refstar',  # basicsr first, as with an old torchvision
    ],
)
def test_every_way_in_registers_everything(first: str, tmp_path: Path) -> None:
    code = f"""{first}
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from basicsr.utils.options import parse_options
assert parse_options.__module__ == 'refstar.trainer.option_file'
registries = (ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY)
for registry, name in zip(registries, {EXPECTED}):
    assert name in registry, name
assert 'GFPGANv1' in ARCH_REGISTRY and 'GFPGANModel' in MODEL_REGISTRY
"""
    runs.succeeded(runs.python('-c', code, cwd=tmp_path))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    import refstar

    with pytest.raises(AttributeError, match='NoSuchNetwork'):
        _ = refstar.NoSuchNetwork
    with pytest.raises(AttributeError):
        _ = refstar.no_such_function


def test_every_folder_with_python_is_listed_in_setup() -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob('[!.]*/**/*.py')}
    ours = {name for name in folders if name.split('/')[0] not in ('tests', 'benchmarks', 'docs', 'build')}
    assert ours == set(_setup_folders().values())


def test_versions_agree() -> None:
    import refstar

    assert f"VERSION = '{refstar.__version__}'" in (ROOT / 'setup.py').read_text()


def test_wheel_holds_only_refstar(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    ignored = shutil.ignore_patterns('__pycache__')
    for folder in _setup_folders().values():
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored, dirs_exist_ok=True)
    (source / 'docs').mkdir()
    for name in ('setup.py', 'pyproject.toml', 'LICENSE', 'docs/model_card.md'):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-q', '-w', tmp_path, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(next(tmp_path.glob('*.whl'))).namelist()
    assert {name.split('/')[0].split('-')[0] for name in names} == {'refstar'}
    for package, folder in _setup_folders().items():
        for file in (source / folder).glob('*.py'):
            assert f'{package.replace(".", "/")}/{file.name}' in names
    for file in source.glob('tools/*/page/*'):
        assert f'refstar/{file.relative_to(source).as_posix()}' in names
    for file in (source / 'options').rglob('*.yml'):
        assert f'refstar/options/{file.relative_to(source / "options").as_posix()}' in names
