"""Real-ESRGAN's own recipes, small: train with this project's switches, save, and resume on the CPU."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers import kill_resume, runs
from test_gfpgan_stock import _vgg_weights

from refstar.trainer.option_file import load_options

SWITCHES = {'amp': 'bf16', 'channels_last': True, 'grad_clip': 1.0}


@pytest.fixture(scope='module')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, their list, and VGG's weights."""
    folder = tmp_path_factory.mktemp('realesrgan')
    runs.write_images(folder / 'datasets/gt', 4, 64)
    runs.write_images(folder / 'datasets/lq', 4, 16)
    (folder / 'datasets/meta_info.txt').write_text(''.join(f'{i:03d}.png\n' for i in range(4)))
    weights = folder / 'experiments/pretrained_models'
    weights.mkdir(parents=True)
    torch.save(_vgg_weights(), weights / 'vgg19-dcbb9e9d.pth')
    return folder


def recipe(kind: str) -> dict:
    """x4plus as it is; its first stage (RealESRNet); its fine-tuning on pairs."""
    opt = load_options(runs.FIXTURES / 'realesrgan_small.yml')
    opt['train'].update(SWITCHES)
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
def test_trains_and_resumes(kind: str, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    opt = recipe(kind)
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
