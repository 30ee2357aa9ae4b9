"""GFPGAN's own training recipe, small: trains, saves, resumes to the same weights and tests on the CPU."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import kill_resume, runs

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
    torch.manual_seed(0)
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
    assert 'iter:       6,' in log and 'iter:       7,' not in log
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


# --------------------------------------------------------------------- the full recipe: components and identity
PART = {'type': 'FacialComponentDiscriminator'}
FULL = {
    'network_d_left_eye': PART,
    'network_d_right_eye': PART,
    'network_d_mouth': PART,
    'network_identity': {'type': 'ResNetArcFace', 'block': 'IRBlock', 'layers': [1, 1, 1, 1], 'use_se': False},
}
PARTS = {'left_eye': [200.0, 240.0, 40.0], 'right_eye': [310.0, 240.0, 40.0], 'mouth': [256.0, 370.0, 50.0]}


def full_recipe(folder: Path) -> dict:
    """`train_gfpgan_v1`, at 512 pixels: GFPGAN crops no eyes from smaller faces."""
    from basicsr.archs import build_network

    runs.write_images(folder / 'datasets/gt', 2, 512)
    runs.write_images(folder / 'datasets/lq', 1, 512)
    for file in list((folder / 'datasets/gt').iterdir())[1:]:
        shutil.copy(folder / 'datasets/lq/000.png', file)
    landmarks = {f'{i:08d}': {part: np.array(box) for part, box in PARTS.items()} for i in range(2)}
    torch.save(landmarks, folder / 'landmarks.pth')
    torch.save(build_network(copy.deepcopy(FULL['network_identity'])).state_dict(), folder / 'arcface.pth')
    options = {**yaml.safe_load((runs.FIXTURES / f'{NAME}.yml').read_text()), **copy.deepcopy(FULL)}
    options['name'] = 'gfpgan_full'
    for key in ('network_g', 'network_d'):
        options[key].update(out_size=512, narrow=0.0625)
    options['network_g'].update(decoder_load_path=None, fix_decoder=False)
    components = {'crop_components': True, 'component_path': 'landmarks.pth', 'eye_enlarge_ratio': 1.4}
    options['datasets']['train'].update(**components, out_size=512, batch_size_per_gpu=1)
    options['path'].update(
        pretrain_network_d_left_eye=None,
        pretrain_network_d_right_eye=None,
        pretrain_network_d_mouth=None,
        pretrain_network_identity='arcface.pth',
        ignore_resume_networks=['network_identity'],
    )
    vanilla = {'type': 'GANLoss', 'gan_type': 'vanilla', 'real_label_val': 1.0, 'fake_label_val': 0.0, 'loss_weight': 1}
    options['train'].update(gan_component_opt=vanilla, comp_style_weight=200, identity_weight=10)
    options['train'].update(perceptual_opt=None, total_iter=2, amp='bf16', grad_clip=1.0, channels_last=['d_mouth'])
    options['val'] = None
    del options['datasets']['val']
    options['logger'].update(save_checkpoint_freq=1, use_tb_logger=False)
    return options


@pytest.mark.slow
def test_the_full_recipe_trains_and_resumes(tmp_path: Path) -> None:
    options = full_recipe(tmp_path)
    run = kill_resume.finish(tmp_path, options)
    log = (tmp_path / 'log.txt').read_text()
    for term in ('l_g_gan_left_eye', 'l_g_gan_mouth', 'l_g_comp_style_loss', 'l_identity', 'l_d_right_eye'):
        assert f' {term}: ' in log, term
    assert ': nan' not in log
    shutil.copytree(run, tmp_path / 'whole')
    for label in ('2', 'latest'):
        for file in run.rglob(f'*{label}.*'):
            file.unlink()
    kill_resume.finish(tmp_path, options)
    assert 'Resuming training from epoch: 0, iter: 1.' in (tmp_path / 'log.txt').read_text()
    assert kill_resume.differences(tmp_path / 'whole', run, 2) == []


def test_components_are_mirrored_once() -> None:
    from basicsr.utils.registry import DATASET_REGISTRY

    kind = DATASET_REGISTRY.get('FFHQDegradationDataset')
    dataset = kind.__new__(kind)
    dataset.out_size, dataset.eye_enlarge_ratio = 512, 1.4
    dataset.components_list = {'00000003': {part: np.array(box) for part, box in PARTS.items()}}
    plain, mirrored, again = (dataset.get_component_coordinates(3, [flip]) for flip in (False, True, True))
    assert [box.tolist() for box in mirrored] == [box.tolist() for box in again]
    assert plain[0].tolist() == [200 - 56 + 1, 240 - 56 + 1, 200 + 56, 240 + 56]
    assert mirrored[0].tolist() == [202 - 56 + 1, 240 - 56 + 1, 202 + 56, 240 + 56]  # the other eye, from the right
