"""Option files of tests: shipped ones, and small recipes of existing models with references."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import refstar  # isort: skip  # noqa: F401, before basicsr
import torch
import yaml
from basicsr.data import build_dataset
from basicsr.models import build_model

from refstar.trainer.option_check import check_options
from refstar.trainer.option_file import load_options, parse_options

from .networks import BACKBONES, SIZE, TAPS, randomised
from .shrink import replace_files, shrink

OPTIONS = Path(__file__).parents[2] / 'options'
DROP = object()


def plain(value: Any) -> Any:
    """Returns options without OrderedDict, for the YAML writer."""
    return json.loads(json.dumps(value))


def put(options: dict, path: str, value: object) -> dict:
    """Returns a copy of the options with the value at `train:optim_g:lr`, say, set, or dropped (`DROP`)."""
    options = copy.deepcopy(options)
    *blocks, last = path.split(':')
    where = options
    for key in blocks:
        where = where.setdefault(key, {})
    if value is DROP:
        where.pop(last, None)
    else:
        where[last] = value
    return options


def parsed(opt: dict, tmp_path: Path, monkeypatch: Any) -> dict:
    """Returns the options as BasicSR's pipelines get them."""
    file = tmp_path / 'small.yml'
    file.write_text(yaml.safe_dump(plain(opt), sort_keys=False))
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(file)])
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    return parse_options(str(tmp_path), is_train='train' in opt['datasets'])[0]


def shipped(name: str, tmp_path: Path, monkeypatch: Any, **train: Any) -> tuple[Any, Any]:
    """Returns the model and the training set of a shipped recipe, made small."""
    opt = shrink(replace_files(load_options(OPTIONS / 'train' / name), tmp_path / 'files'))
    opt['train'].update(train)
    opt = parsed(opt, tmp_path, monkeypatch)
    torch.manual_seed(0)
    return build_model(opt), build_dataset(opt['datasets']['train'])


# --------------------------------------------------------------------- existing models with references
L1 = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
ADAM = {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]}
GAN = {'type': 'GANLoss', 'gan_type': 'wgan_softplus', 'loss_weight': 0.1}
DISCRIMINATOR = {'type': 'StyleGAN2DiscriminatorClean', 'out_size': SIZE, 'channel_multiplier': 1, 'narrow': 0.0625}
ADVERSARIAL = {'gan_opt': GAN, 'optim_d': ADAM, 'net_d_iters': 1, 'net_d_init_iters': 0}
# Real-ESRGAN's degradation, at the top level of its option file.
DEGRADED = load_options(Path(__file__).parents[1] / 'fixtures/realesrgan_small.yml')
DEGRADED = {key: value for key, value in DEGRADED.items() if not isinstance(value, dict)} | {'resize_range': [0.5, 1.5]}
for key in ('name', 'model_type', 'num_gpu', 'scale'):
    del DEGRADED[key]
# Model -> its backbone, and what its options need besides those of SRModel.
MODELS = {
    'RefSRModel': ('RRDBNet', {}, {}),
    'RefSwinIRModel': ('SwinIR x2', {}, {}),
    'RefSRGANModel': ('RRDBNet', ADVERSARIAL, {'network_d': DISCRIMINATOR}),
    'RefESRGANModel': ('RRDBNet x4', ADVERSARIAL, {'network_d': DISCRIMINATOR}),
    'RefRealESRGANModel': ('SwinIR x2', ADVERSARIAL, {'network_d': DISCRIMINATOR, **DEGRADED}),
    'RefGFPGANModel': (
        'GFPGANv1Clean',
        {**ADVERSARIAL, 'L1_opt': L1, 'pyramid_loss_weight': 1.0, 'r1_reg_weight': 10, 'net_d_reg_every': 16},
        {'network_d': DISCRIMINATOR},
    ),
}


def existing_options(model: str) -> dict:
    """Returns the options of a small training of an existing model with references."""
    backbone, train, top = MODELS[model]
    photos = {'type': 'SyntheticFaceDataset', 'gt_size': SIZE, 'num_refs': 2, 'photos_per_identity': 3, 'identities': 2}
    network = {'type': 'RefSTAR', 'size': SIZE, 'backbone': BACKBONES[backbone], 'taps': TAPS.get(backbone)}
    network |= {'refsel': {'size': SIZE, 'channels': 8}, 'ref_channels': 8}
    network |= {'value_range': [-1, 1] if model == 'RefGFPGANModel' else [0, 1]}
    training = {'optim_g': ADAM, 'scheduler': {'type': 'MultiStepLR', 'milestones': [2]}, 'total_iter': 2}
    psnr = {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': False}
    opt = {'name': 'existing', 'model_type': model, 'num_gpu': 0, 'manual_seed': 0}
    opt['scale'] = int(backbone[-1]) if ' x' in backbone else 1
    opt |= {
        'network_g': network,
        'datasets': {
            'train': {**photos, 'name': 'people', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0},
            'val': {**photos, 'name': 'strangers', 'first_identity': 100},
        },
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {'pixel_opt': L1, 'freeze': ['refsel'], **training, **train},
        'val': {'val_freq': 1, 'save_img': True, 'suffix': None, 'metrics': {'psnr': psnr}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': False},
    }
    return copy.deepcopy(opt | top)


def built(opt: dict, tmp_path: Path, monkeypatch: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the model of checked options, its network as if it had learned something, and its datasets."""
    check_options(opt, is_train=True)
    opt = parsed(opt, tmp_path, monkeypatch)
    torch.manual_seed(0)
    model = build_model(opt)
    randomised(model.get_bare_model(model.net_g))
    if hasattr(model, 'net_g_ema'):
        model.model_ema(0)
    return model, {phase: build_dataset(block) for phase, block in opt['datasets'].items()}
