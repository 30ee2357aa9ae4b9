"""GFPGAN's own training recipe, small: trains, saves, resumes to the same weights and tests on the CPU."""

import copy
import shutil
from pathlib import Path

import kill_resume
import pytest
import runs
import torch
import yaml

NAME = 'gfpgan_simple_small'


def _vgg_weights() -> dict[str, torch.Tensor]:
    """VGG19's state dict with averaging filters: one stored number per tensor instead of 548 MB."""
    from torchvision.models import vgg19

    with torch.device('meta'):
        shapes = {key: value.shape for key, value in vgg19().state_dict().items()}
    return {key: torch.full((1,), 1 / shape[1:].numel()).expand(shape) for key, shape in shapes.items()}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder in which the small recipe has been trained to its end."""
    from basicsr.archs import build_network

    folder = tmp_path_factory.mktemp('gfpgan')
    runs.write_images(folder / 'datasets/gt', 4)
    runs.write_images(folder / 'datasets/lq', 4)
    options = yaml.safe_load((runs.FIXTURES / f'{NAME}.yml').read_text())
    weights = folder / 'experiments/pretrained_models'
    weights.mkdir(parents=True)
    network = dict(copy.deepcopy(options['network_g']), decoder_load_path=None)
    decoder = build_network(network).stylegan_decoder
    torch.save({'params_ema': decoder.state_dict()}, weights / 'decoder.pth')
    torch.save(_vgg_weights(), weights / 'vgg19-dcbb9e9d.pth')
    shutil.copy(runs.FIXTURES / f'{NAME}.yml', folder / 'train.yml')
    log = runs.succeeded(runs.train('-opt', 'train.yml', cwd=folder))
    (folder / 'log.txt').write_text(log)
    return folder


def test_trains_with_every_loss_of_the_recipe(folder: Path) -> None:
    log = (folder / 'log.txt').read_text()
    for term in ('l_g_pix', 'l_p_8', 'l_p_32', 'l_g_percep', 'l_g_style', 'l_g_gan', 'l_d', 'l_d_r1'):
        assert f' {term}: ' in log, term
    assert ': nan' not in log


def test_saves_in_basicsr_format_and_ends_at_the_last_iteration(folder: Path) -> None:
    run = folder / 'experiments' / NAME
    assert sorted(path.name for path in (run / 'training_states').iterdir()) == ['3.state', '6.state']
    files = {f'net_{net}_{label}.pth' for net in 'gd' for label in ('3', '6', 'latest')}
    assert {path.name for path in (run / 'models').iterdir()} == files
    assert set(torch.load(run / 'models/net_g_6.pth', weights_only=True)) == {'params', 'params_ema'}
    log = (folder / 'log.txt').read_text()
    assert '@ 6 iter' in log and '@ 7 iter' not in log
    assert list((run / 'visualization').rglob('*_6.png')) and not list((run / 'visualization').rglob('*_7.png'))


def test_resumes_to_the_same_weights(folder: Path) -> None:
    run = folder / 'experiments' / NAME
    whole = torch.load(run / 'models/net_g_6.pth', weights_only=True)
    for label in ('6', 'latest'):
        for file in run.rglob(f'*{label}.*'):
            file.unlink()
    (run / 'models/.net_g_4.pth.part').write_bytes(b'half a file')
    log = runs.succeeded(runs.train('-opt', 'train.yml', '--auto_resume', cwd=folder))
    assert 'Resuming training from epoch: 1, iter: 3.' in log
    assert not list(folder.glob('experiments/*_archived_*')) and not list(run.rglob('*.part'))
    resumed = torch.load(run / 'models/net_g_6.pth', weights_only=True)
    for key, value in whole['params'].items():
        torch.testing.assert_close(resumed['params'][key], value, rtol=0, atol=1e-6, msg=key)
    for key, value in whole['params_ema'].items():
        torch.testing.assert_close(resumed['params_ema'][key], value, rtol=0, atol=1e-6, msg=key)


def test_tests_with_the_trained_weights(folder: Path) -> None:
    options = yaml.safe_load((folder / 'train.yml').read_text())
    weights = f'experiments/{NAME}/models/net_g_latest.pth'
    test = {
        'name': 'gfpgan_test',
        'model_type': 'GFPGANModel',
        'num_gpu': 4,  # more than there are: falls to the CPU with a notice
        'datasets': {'test_1': options['datasets']['val']},
        'network_g': options['network_g'],
        'path': {'pretrain_network_g': weights, 'param_key_g': 'params_ema', 'strict_load_g': True},
        'val': {'save_img': True, 'metrics': options['val']['metrics']},  # no suffix
    }
    runs.write_options(folder / 'test.yml', test)
    log = runs.succeeded(runs.test('-opt', 'test.yml', cwd=folder))
    assert 'running on the CPU' in log and '# psnr:' in log
    assert len(list((folder / 'results/gfpgan_test/visualization/validation').glob('*.png'))) == 4


def test_the_recipe_takes_the_switches_of_this_project_and_resumes(folder: Path, tmp_path: Path) -> None:
    for part in ('datasets', 'experiments/pretrained_models'):
        shutil.copytree(folder / part, tmp_path / part)
    options = yaml.safe_load((folder / 'train.yml').read_text())
    options['train'].update(amp='bf16', accumulate=2, grad_clip=1.0, total_iter=3)
    options['logger'].update(save_checkpoint_freq=1, keep_last=1)
    options['val']['val_freq'] = 3
    shutil.move(kill_resume.finish(tmp_path, options), tmp_path / 'whole')
    options['train']['total_iter'] = 2
    run = kill_resume.finish(tmp_path, options)
    assert [path.name for path in (run / 'training_states').iterdir()] == ['2.state']
    options['train']['total_iter'] = 3
    assert kill_resume.differences(tmp_path / 'whole', kill_resume.finish(tmp_path, options), 3) == []
    log = (tmp_path / 'log.txt').read_text()
    assert 'grad_norm: ' in log and 'l_d_r1: ' in log and ': nan' not in log
