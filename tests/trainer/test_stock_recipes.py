"""GFPGAN's and Real-ESRGAN's own recipes, small: they train, save, resume and test on the CPU."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import forked, kill_resume, runs
from helpers.recipes import plain

from refstar.tools.test import main as run_test
from refstar.trainer.option_file import load_options

NAME = 'gfpgan_simple_small'
ADDED = {'amp': 'bf16', 'grad_clip': 1.0}  # options of this project


def vgg_weights() -> dict[str, torch.Tensor]:
    """VGG19's state dict with averaging filters: one stored number per tensor instead of 548 MB."""
    from torchvision.models import vgg19

    with torch.device('meta'):
        shapes = {key: value.shape for key, value in vgg19().state_dict().items()}
    return {key: torch.full((1,), 1 / shape[1:].numel()).expand(shape) for key, shape in shapes.items()}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with photos and pretrained weights."""
    from basicsr.archs import build_network

    folder = tmp_path_factory.mktemp('stock')
    for part in ('gt', 'lq'):
        runs.write_images(folder / 'datasets' / part, 4)
    weights = folder / 'experiments/pretrained_models'
    weights.mkdir(parents=True)
    network = dict(load_options(runs.FIXTURES / f'{NAME}.yml')['network_g'], decoder_load_path=None)
    torch.manual_seed(0)
    torch.save({'params_ema': build_network(network).stylegan_decoder.state_dict()}, weights / 'decoder.pth')
    torch.save(vgg_weights(), weights / 'vgg19-dcbb9e9d.pth')
    return folder


def test_gfpgans_recipe_trains_resumes_and_tests(folder: Path) -> None:
    opt = load_options(runs.FIXTURES / f'{NAME}.yml')
    run = kill_resume.finish(folder, opt)
    log = (folder / 'log.txt').read_text()
    for term in ('l_g_pix', 'l_p_8', 'l_p_32', 'l_g_percep', 'l_g_style', 'l_g_gan', 'l_d', 'l_d_r1'):
        assert f' {term}: ' in log, term
    assert ': nan' not in log and 'iter:       6,' in log and 'iter:       7,' not in log
    assert sorted(path.name for path in (run / 'training_states').iterdir()) == ['3.state', '6.state']
    files = {f'net_{net}_{label}.pth' for net in 'gd' for label in ('3', '6', 'latest')}
    assert {path.name for path in (run / 'models').iterdir()} == files
    assert set(torch.load(run / 'models/net_g_6.pth', weights_only=True)) == {'params', 'params_ema'}
    assert list((run / 'visualization').rglob('*_6.png')) and not list((run / 'visualization').rglob('*_7.png'))

    shutil.copytree(run, folder / 'whole')
    for label in ('6', 'latest'):
        for file in run.rglob(f'*{label}.*'):
            file.unlink()
    (run / 'models/.net_g_4.pth.part').write_bytes(b'half a file')
    kill_resume.finish(folder, opt)
    assert 'Resuming training from epoch: 1, iter: 3.' in (folder / 'log.txt').read_text()
    assert not list(folder.glob('experiments/*_archived_*')) and not list(run.rglob('*.part'))
    # Its state holds the best figures: those of iteration 3, which was validated after it was saved, are not in it.
    assert set(kill_resume.differences(folder / 'whole', run, 6)) <= {'training_states/6.state'}

    test = {
        'name': 'gfpgan_test',
        'model_type': 'GFPGANModel',
        'num_gpu': 4,  # more than there are: falls to the CPU with a notice
        'datasets': {'test_1': opt['datasets']['val']},
        'network_g': opt['network_g'],
        'path': {'pretrain_network_g': str(run / 'models/net_g_latest.pth'), 'param_key_g': 'params_ema'},
        'val': {'save_img': True, 'metrics': opt['val']['metrics']},  # no suffix
    }
    runs.write_options(folder / 'test.yml', plain(test))
    assert kill_resume.ended(forked.start(folder, lambda: run_test(['-opt', 'test.yml']), 'test.txt')) == 0
    log = (folder / 'test.txt').read_text()
    assert 'running on the CPU' in log and '# psnr:' in log
    assert len(list((folder / 'results/gfpgan_test/visualization/validation').glob('*.png'))) == 4


def test_gfpgans_recipe_takes_the_options_of_this_project(folder: Path, tmp_path: Path) -> None:
    for part in ('datasets', 'experiments/pretrained_models'):
        shutil.copytree(folder / part, tmp_path / part)
    opt = load_options(runs.FIXTURES / f'{NAME}.yml')
    opt['train'].update(ADDED, total_iter=2)
    opt['logger'].update(save_checkpoint_freq=1, keep_last=1)
    opt['val'] = None
    del opt['datasets']['val']
    run = kill_resume.finish(tmp_path, opt)
    assert [path.name for path in (run / 'training_states').iterdir()] == ['2.state']
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


# --------------------------------------------------------------------- Real-ESRGAN
@pytest.fixture(scope='module')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, their list, and VGG's weights."""
    folder = tmp_path_factory.mktemp('realesrgan')
    runs.write_images(folder / 'datasets/gt', 4, 64)
    runs.write_images(folder / 'datasets/lq', 4, 16)
    (folder / 'datasets/meta_info.txt').write_text(''.join(f'{i:03d}.png\n' for i in range(4)))
    weights = folder / 'experiments/pretrained_models'
    weights.mkdir(parents=True)
    torch.save(vgg_weights(), weights / 'vgg19-dcbb9e9d.pth')
    return folder


def realesrgan(kind: str) -> dict:
    """x4plus as it is; its first stage (RealESRNet); its fine-tuning on pairs."""
    opt = load_options(runs.FIXTURES / 'realesrgan_small.yml')
    opt['train'].update(ADDED, channels_last=True)
    opt['logger']['keep_last'], opt['val']['val_freq'] = 1, 100  # validated at the end
    if kind == 'RealESRNet':
        opt.update(model_type='RealESRNetModel', gt_usm=True)
        for key in ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm', 'network_d'):
            del opt[key]
        opt['path'] = {key: value for key, value in opt['path'].items() if not key.endswith('_d')}
        for key in ('optim_d', 'perceptual_opt', 'gan_opt', 'net_d_iters', 'net_d_init_iters'):
            del opt['train'][key]
    if kind == 'pairs':
        opt['high_order_degradation'] = False
        train = {**opt['datasets']['val'], 'name': 'pairs', 'type': 'RealESRGANPairedDataset', 'gt_size': 32}
        kept = ('use_hflip', 'use_rot', 'use_shuffle', 'num_worker_per_gpu', 'batch_size_per_gpu', 'prefetch_mode')
        opt['datasets']['train'] = {**train, **{key: opt['datasets']['train'][key] for key in kept}}
    return opt


TERMS = {
    'x4plus': ('l_g_pix', 'l_g_percep', 'l_g_gan', 'l_d_real', 'l_d_fake'),
    'RealESRNet': ('l_pix',),
    'pairs': ('l_g_pix', 'l_g_percep', 'l_g_gan', 'l_d_real', 'l_d_fake'),
}


@pytest.mark.parametrize('kind', TERMS)
def test_realesrgans_recipe_trains_and_resumes(kind: str, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    opt = realesrgan(kind)
    run = kill_resume.finish(tmp_path, opt)
    log = (tmp_path / 'log.txt').read_text()
    for term in (*TERMS[kind], 'grad_norm'):
        assert f' {term}: ' in log, term
    assert ': nan' not in log and '# psnr: ' in log and '@ 3 iter' in log
    assert {path.name for path in (run / 'training_states').iterdir()} == {'3.state'}
    assert set(torch.load(run / 'models/net_g_3.pth', weights_only=True)) == {'params', 'params_ema'}
    if kind == 'RealESRNet':
        return
    opt['train']['total_iter'] = 4
    resumed = kill_resume.finish(tmp_path, opt)
    assert 'Resuming training from epoch: 0, iter: 3.' in (tmp_path / 'log.txt').read_text()
    assert (resumed / 'models/net_d_4.pth').is_file()
    if kind == 'pairs':  # there is no pool of earlier samples, which nothing saves: exact
        shutil.move(resumed, tmp_path / 'resumed')
        assert kill_resume.differences(kill_resume.finish(tmp_path, opt), tmp_path / 'resumed', 4) == []
