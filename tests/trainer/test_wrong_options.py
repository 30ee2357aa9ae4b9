"""Wrong options: whatever the key, one clear line, exit code 2, no folder made and no older run archived."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from basicsr.utils import logger, registry
from helpers import runs
from helpers.recipes import DROP, OPTIONS, existing_options, plain, put
from helpers.shrink import replace_files, shrink

from refstar.tools.test import main as run_test
from refstar.tools.train import main as train
from refstar.trainer.option_check import block_of, check_options
from refstar.trainer.option_file import load_options
from refstar.trainer.run_options import Metric, Optimizer, Scheduler
from refstar.trainer.signatures import call_block
from refstar.utils.errors import RefStarError
from refstar.utils.option_block import DatasetOptions, OptionBlock


# --------------------------------------------------------------------- every key of the schema
def schemas(opt: dict) -> Iterator[tuple[str, type[OptionBlock]]]:
    """The blocks of an option file, with their schemas."""
    from basicsr.models import lr_scheduler

    model = registry.MODEL_REGISTRY.get(opt['model_type'])
    for block in ('', *({'path', 'train', 'val', 'logger'} & set(opt))):
        yield block, block_of(model, block)
    for phase, block in opt['datasets'].items():
        yield f'datasets:{phase}', block_of(registry.DATASET_REGISTRY.get(block['type']), every=DatasetOptions)
    for key in ('network_g', 'network_d'):
        if key in opt:
            yield key, call_block(registry.ARCH_REGISTRY.get(opt[key]['type']))
    for key, block in opt['train'].items():
        if key.endswith('_opt') and block:
            yield f'train:{key}', call_block(registry.LOSS_REGISTRY.get(block['type']))
        elif key.startswith('optim_'):
            yield f'train:{key}', call_block(getattr(torch.optim, block['type']), Optimizer)
    yield 'train:scheduler', call_block(lr_scheduler.MultiStepRestartLR, Scheduler)
    for name, block in opt.get('val', {}).get('metrics', {}).items():
        yield f'val:metrics:{name}', call_block(registry.METRIC_REGISTRY.get(block['type']), Metric)


@pytest.fixture(params=['gfpgan_simple_small', 'realesrgan_small', 'refstar_gfpgan_512', 'RefSRGANModel'])
def recipe(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Options of upstream and of this project, in a folder with their files."""
    monkeypatch.chdir(tmp_path)
    if request.param == 'RefSRGANModel':
        return plain(existing_options(request.param))
    if request.param == 'refstar_gfpgan_512':
        return plain(shrink(replace_files(load_options(OPTIONS / 'train/refstar_gfpgan_512.yml'), tmp_path)))
    for part in ('gt', 'lq'):
        (tmp_path / 'datasets' / part).mkdir(parents=True)
    (tmp_path / 'datasets/meta_info.txt').touch()
    return plain(load_options(runs.FIXTURES / f'{request.param}.yml'))


def wrong(annotation: Any) -> object:
    """A value of a type that a key does not take; None where it takes any."""
    kinds = {annotation, *get_args(annotation)}
    if Any in kinds:
        return None
    is_block = any(
        kind is dict or 'dict' in str(kind) or (isinstance(kind, type) and issubclass(kind, OptionBlock))
        for kind in kinds
    )
    return [1, {}] if is_block else {'a': 1}


def test_every_key_is_checked(recipe: dict) -> None:
    check_options(recipe, is_train=True)
    silent, seen = [], 0
    for where, schema in schemas(recipe):
        for name, field in schema.model_fields.items():
            path = f'{where}:{name}'.lstrip(':')
            tries = {'wrong': wrong(field.annotation)} | ({'missing': DROP} if field.is_required() else {})
            for value in filter(lambda value: value is not None, tries.values()):
                seen += 1
                try:
                    check_options(put(recipe, path, value), is_train=True)
                    silent.append((path, value))
                except RefStarError as error:
                    if path not in str(error) or '\n' in str(error):
                        silent.append((path, str(error)))
    assert not silent and seen > 60


# --------------------------------------------------------------------- what is found when things are built and tried
@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with photos and an older run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', sys.argv)
    monkeypatch.setattr(logger, 'initialized_logger', {})
    for part in ('gt', 'lq'):
        runs.write_images(tmp_path / 'datasets' / part, 2)
    for kind in ('experiments', 'results', 'tb_logger'):
        (tmp_path / kind / 'sr_tiny').mkdir(parents=True)
    return tmp_path


def tiny() -> dict:
    opt = plain(load_options(runs.FIXTURES / 'sr_tiny.yml'))
    opt['train']['total_iter'] = 1
    return opt


COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [2, 2], 'restart_weights': [1, 1]}
NO_GT = {'name': 'no_gt', 'type': 'SingleImageDataset', 'dataroot_lq': 'datasets/lq', 'io_backend': {'type': 'disk'}}
FAULTS = {
    'periods that end too early': ({'train:total_iter': 6, 'train:scheduler': COSINE}, 'periods end after 4 of 6'),
    'lists of unequal length': ({'train:scheduler': {**COSINE, 'restart_weights': [1]}}, '2 entries, restart_weights'),
    'no loss': ({'train:pixel_opt': DROP}, 'no loss is given; at least one of pixel_opt, perceptual_opt is needed'),
    'wandb without TensorBoard': ({'logger:wandb': {'project': 'x'}}, 'set logger:use_tb_logger: true'),
    'CUDA without CUDA': ({'datasets:train:prefetch_mode': 'cuda'}, 'prefetch_mode: cuda needs a GPU'),
    'another scale': ({'scale': 4}, 'scale: 4, but network_g:scale enlarges 1 times'),
    'a validation without GT': ({'datasets:val': NO_GT}, 'psnr compares with a GT, but SingleImageDataset (no_gt)'),
    'two sets of one name': (
        {'datasets:val_2': NO_GT, 'datasets:val:name': 'no_gt'},
        "'no_gt' is taken by datasets:val",
    ),
    'a metric on too small photos': ({'val:metrics:psnr:crop_border': 16}, 'val:metrics:psnr is no number'),
    'NIQE on too small photos': ({'val:metrics:n': {'type': 'calculate_niqe', 'crop_border': 0}}, 'calculate_niqe: '),
    'a crop larger than photos': ({'datasets:train:gt_size': 64}, 'smaller than patch size (64, 64)'),
    'a key that a data set needs': ({'datasets:train:use_hflip': DROP}, "the key 'use_hflip' is missing"),
    'a loader process': (
        {'datasets:train:use_hflip': DROP, 'datasets:train:num_worker_per_gpu': 1},
        'datasets:train: ',
    ),
    'a network': ({'network_g:num_feat': -1}, 'network RRDBNet: '),
    'a loss': ({'train:pixel_opt:reduction': 'all'}, 'loss L1Loss: ValueError: Unsupported reduction mode: all'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_is_one_line_and_nothing_is_written(fault: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    opt, (changes, message) = tiny(), FAULTS[fault]
    for path, value in changes.items():
        opt = put(opt, path, value)
    runs.write_options(folder / 'x.yml', opt)
    before = sorted(folder.rglob('*'))
    assert train(['-opt', 'x.yml']) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and message in errors[0]
    assert sorted(folder.rglob('*')) == before


def test_a_test_that_fails_archives_nothing(folder: Path, capsys: pytest.CaptureFixture) -> None:
    opt = tiny()
    opt['datasets'] = {'test': {**NO_GT}}
    del opt['train'], opt['logger']
    runs.write_options(folder / 'x.yml', opt)
    before = sorted(folder.rglob('*'))
    assert run_test(['-opt', 'x.yml']) == 2
    assert 'psnr compares with a GT' in capsys.readouterr().err and sorted(folder.rglob('*')) == before


def test_debug_shows_where_a_program_fails(folder: Path) -> None:
    runs.write_options(folder / 'x.yml', put(tiny(), 'network_g:num_feat', -1))
    with pytest.raises(RuntimeError, match='negative dimension'):
        train(['-opt', 'x.yml', '--debug'])
    assert not (folder / 'experiments/debug_sr_tiny').exists()


def test_right_options_run(folder: Path) -> None:
    opt = put(tiny(), 'train:scheduler', {**COSINE, 'periods': [1], 'restart_weights': [1]})
    niqe = {'type': 'calculate_niqe', 'crop_border': 0}
    runs.write_images(folder / 'large', 1, 200)
    opt = put(put(opt, 'datasets:val', {**NO_GT, 'dataroot_lq': 'large'}), 'val:metrics', {'niqe': niqe})
    runs.write_options(folder / 'x.yml', opt)
    assert train(['-opt', 'x.yml']) == 0
    assert list(folder.glob('experiments/sr_tiny_archived_*')) and (folder / 'experiments/sr_tiny/models').is_dir()
