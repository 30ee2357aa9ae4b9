"""Several processes validate, test and train as one does: the same figures, the same losses, the same weights."""

import copy
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from helpers import forked, runs
from helpers.networks import BACKBONES, SIZE
from helpers.recipes import existing_options as existing
from helpers.recipes import plain
from helpers.shrink import write_picture

from refstar.trainer import validation
from refstar.trainer.option_file import load_options, parse_options

PSNR = {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': False}
SSIM = {'type': 'calculate_ssim', 'crop_border': 0, 'test_y_channel': False}
PHOTOS = 4


def stock(model: str, network: dict, **dataset: object) -> dict:
    """A test of one of BasicSR's or GFPGAN's own models on the photos of `folder`."""
    photos = {'name': 'photos', 'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}, **dataset}
    roots = {'dataroot_gt': 'datasets/gt', 'dataroot_lq': 'datasets/lq'}
    return {'model_type': model, 'network_g': network, 'datasets': {'test': {**photos, **roots}}}


def with_references(model: str) -> dict:
    """Network and data of a model with references, on the people of `folder`."""
    network = existing('RefSRModel')['network_g']
    network['value_range'] = [-1, 1] if model == 'RefSTARModel' else [0, 1]
    people = {'name': 'people', 'type': 'ReferenceTestDataset', 'dataroot': 'datasets/people', 'gt_size': SIZE}
    return {'model_type': model, 'network_g': network, 'datasets': {'test': {**people, 'max_images': PHOTOS}}}


SWINIR = {**BACKBONES['SwinIR'], 'img_size': SIZE}  # its buffers are what DDP exchanges
HALVES = {'mean': [0.5] * 3, 'std': [0.5] * 3}
TESTS = {
    'SwinIRModel': stock('SwinIRModel', SWINIR),
    'GFPGANModel': stock('GFPGANModel', BACKBONES['GFPGANv1Clean'], **HALVES),  # its decoder draws noise
    'RefSRModel': with_references('RefSRModel'),
    'RefSTARModel': with_references('RefSTARModel'),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with photos."""
    runs.write_images(tmp_path / 'datasets/gt', PHOTOS)
    runs.write_images(tmp_path / 'datasets/lq', PHOTOS)
    for i in range(8):
        write_picture(tmp_path / f'datasets/people/{i // 2}/{i}.png', i)
    return tmp_path


def write(opt: dict, folder: Path) -> None:
    """The option file of a test."""
    val = {'metrics': {'psnr': PSNR, 'ssim': SSIM}, 'save_img': True}
    whole = {'name': 'test', 'scale': 1, 'num_gpu': 0, 'manual_seed': 7, 'path': {}, 'val': val, **opt}
    runs.write_options(folder / 'x.yml', plain(copy.deepcopy(whole)))


def test_one_set(opt: dict, count: int, folder: Path) -> list[dict[str, dict[str, float]]]:
    """Tests by so many processes; returns what each of them has for figures, by data set."""
    write(opt, folder)

    def run() -> None:
        sys.argv = ['basicsr', '-opt', 'x.yml', *(['--launcher', 'pytorch'] if count > 1 else [])]
        opt, _ = parse_options(str(folder), is_train=False)
        torch.manual_seed(0)
        model, block = build_model(opt), opt['datasets']['test']
        Path(opt['path']['log']).mkdir(parents=True, exist_ok=True)
        torch.rand(opt['rank'] + 1)  # whatever this process has drawn before
        found = {}
        log = model._log_validation_metric_values

        def remember(*args: object) -> None:
            found[block['name'] if len(args) < 2 else args[1]] = dict(model.metric_results)
            log(*args)

        model._log_validation_metric_values = remember
        model.validation(build_dataloader(build_dataset(block), block, dist=opt['dist']), 'test', None, save_img=True)
        Path(f'figures{opt["rank"]}.json').write_text(json.dumps(found))

    forked.ranks(count, folder, run)
    return [json.loads((folder / f'figures{rank}.json').read_text()) for rank in range(count)]


test_one_set.__test__ = False


@pytest.mark.parametrize('name', TESTS)
def test_two_processes_find_the_figures_of_one(name: str, folder: Path) -> None:
    wanted = test_one_set(TESTS[name], 1, folder)[0]
    assert wanted and all(figures for figures in wanted.values())
    shutil.move(folder / 'results', folder / 'alone')
    found, nothing = test_one_set(TESTS[name], 2, folder)
    assert found == wanted and nothing == {}
    assert runs.files_under(folder / 'results') == runs.files_under(folder / 'alone')  # pictures and tables too


def test_every_photo_has_its_own_seed() -> None:
    loader = torch.utils.data.DataLoader(torch.arange(5))
    drawn = [(int(x), float(torch.rand(()))) for x in validation.seeded(loader, 7)]
    assert [x for x, _ in drawn] == [0, 1, 2, 3, 4] and len(set(drawn)) == 5
    assert drawn == [(int(x), float(torch.rand(()))) for x in validation.seeded(loader, 7)]
    assert drawn != [(int(x), float(torch.rand(()))) for x in validation.seeded(loader, 8)]
    batches = torch.utils.data.DataLoader(torch.arange(5), batch_size=2)
    assert validation.seeded(batches, 7) is batches


# --------------------------------------------------------------------- training
def training(name: str, batch: int) -> dict:
    """Six iterations without chance in the network; eight photos are one or two batches an epoch."""
    opt = load_options(runs.FIXTURES / 'sr_tiny.yml')
    if name == 'RefSTARModel':
        tested = with_references(name)
        opt.update(model_type=name, network_g=tested['network_g'])
        people = tested['datasets']['test']
        opt['datasets']['val'] = people
        opt['datasets']['train'] = {**people, 'type': 'ReferencePairDataset', 'draws': 1, 'num_worker_per_gpu': 0}
        del opt['datasets']['train']['max_images']
        opt['train']['optim_g'] = {'type': 'SGD', 'lr': 0.1}  # Adam makes whole steps of gradients that are rounding
    opt.update(name='run', manual_seed=1)
    opt['datasets']['train']['batch_size_per_gpu'] = batch
    opt['train'].update(total_iter=6, ema_decay=0.9, grad_clip=1.0)
    opt['val']['val_freq'] = 2
    opt['logger'].update(print_freq=1, save_checkpoint_freq=6)
    return opt


def trained(opt: dict, count: int, folder: Path) -> tuple[list[dict[str, float]], Path]:
    """Trains by so many processes; returns what was logged in every iteration, and the folder of the run."""
    from refstar.tools.train import main

    shutil.rmtree(folder / 'experiments', ignore_errors=True)
    runs.write_options(folder / 'x.yml', plain(opt))
    arguments = ['-opt', 'x.yml', *(['--launcher', 'pytorch'] if count > 1 else [])]
    log = forked.ranks(count, folder, lambda: main(arguments))[0]
    lines = [line for line in log.splitlines() if ' l_' in line and 'iter:' in line]
    figures = re.compile(r'(l_\w+|grad_norm): (\S+)')
    run = (folder / 'experiments/run').rename(folder / f'run_of_{count}')
    return [{key: float(value) for key, value in figures.findall(line)} for line in lines], run


@pytest.mark.parametrize('name', ['SRModel', 'RefSTARModel'])
def test_two_processes_train_as_one_of_twice_the_batch(name: str, folder: Path) -> None:
    for part in ('gt', 'lq'):
        shutil.rmtree(folder / 'datasets' / part)
        runs.write_images(folder / 'datasets' / part, 8)
    one, alone = trained(training(name, 4), 1, folder)
    two, both = trained(training(name, 2), 2, folder)
    assert len(one) == len(two) == 6
    for a, b in zip(one, two, strict=True):
        assert set(a) == set(b) >= {'grad_norm'}
        assert b == pytest.approx(a, rel=1e-3)  # as far as it is printed: four digits
    states = [torch.load(run / 'models/net_g_6.pth', weights_only=True) for run in (alone, both)]
    for key in ('params', 'params_ema'):
        for name, value in states[0][key].items():
            torch.testing.assert_close(states[1][key][name], value, rtol=0, atol=1e-5, msg=name)
