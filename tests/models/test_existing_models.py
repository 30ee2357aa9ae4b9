"""Existing BasicSR models with references: their own loops train, validate in three arms, and without any reference do
what they did before."""

import copy
import json
import math

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY
from helpers.networks import BACKBONES, SIZE, TAPS
from test_shipped_options import parsed
from torch.utils.data import DataLoader, default_collate

from refstar import RefStarError
from refstar.models.reference_mixin import ReferenceMixin
from refstar.trainer.option_check import check_options

L1 = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
ADAM = {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]}
GAN = {'type': 'GANLoss', 'gan_type': 'wgan_softplus', 'loss_weight': 0.1}
DISCRIMINATOR = {'type': 'StyleGAN2DiscriminatorClean', 'out_size': SIZE, 'channel_multiplier': 1, 'narrow': 0.0625}
ADVERSARIAL = {'gan_opt': GAN, 'optim_d': ADAM, 'net_d_iters': 1, 'net_d_init_iters': 0}
# Model -> its backbone, and what its options need besides those of SRModel.
MODELS = {
    'RefSRModel': ('RRDBNet', {}, {}),
    'RefSwinIRModel': ('SwinIR', {}, {}),
    'RefSRGANModel': ('RRDBNet', ADVERSARIAL, {'network_d': DISCRIMINATOR}),
    'RefESRGANModel': ('RRDBNet', ADVERSARIAL, {'network_d': DISCRIMINATOR}),
    'RefGFPGANModel': (
        'GFPGANv1Clean',
        {**ADVERSARIAL, 'L1_opt': L1, 'pyramid_loss_weight': 1.0, 'r1_reg_weight': 10, 'net_d_reg_every': 16},
        {'network_d': DISCRIMINATOR},
    ),
}


def options(model: str) -> dict:
    backbone, train, top = MODELS[model]
    photos = {'type': 'SyntheticFaceDataset', 'gt_size': SIZE, 'num_refs': 2, 'photos_per_identity': 3, 'identities': 2}
    network = {
        'type': 'RefSTAR',
        'size': SIZE,
        'backbone': BACKBONES[backbone],
        'taps': TAPS.get(backbone),
        'refsel': {'size': SIZE, 'channels': 8},
        'ref_channels': 8,
        'value_range': [-1, 1] if model == 'RefGFPGANModel' else [0, 1],
    }
    training = {'optim_g': ADAM, 'scheduler': {'type': 'MultiStepLR', 'milestones': [2]}, 'total_iter': 2}
    return copy.deepcopy(
        {
            'name': 'existing',
            'model_type': model,
            'scale': 1,
            'num_gpu': 0,
            'manual_seed': 0,
            'network_g': network,
            **top,
            'datasets': {
                'train': {**photos, 'name': 'people', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0},
                'val': {**photos, 'name': 'strangers', 'first_identity': 100},
            },
            'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
            'train': {'pixel_opt': L1, 'freeze': ['refsel'], **training, **train},
            'val': {
                'val_freq': 1,
                'save_img': True,
                'suffix': None,
                'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': False}},
            },
            'logger': {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': False},
        }
    )


def built(opt: dict, tmp_path, monkeypatch):
    check_options(opt, is_train=True)
    opt = parsed(opt, tmp_path, monkeypatch)
    torch.manual_seed(0)
    model = build_model(opt)
    net = model.get_bare_model(model.net_g)
    for p in net.parameters():  # a network that has learned something
        if p.ndim != 1 and not p.any():
            torch.nn.init.normal_(p, std=0.05)
    if hasattr(model, 'net_g_ema'):
        model.model_ema(0)
    return model, {phase: build_dataset(block) for phase, block in opt['datasets'].items()}


@pytest.mark.parametrize('name', MODELS)
def test_trains_and_validates_in_three_arms(name, tmp_path, monkeypatch):
    model, data = built(options(name), tmp_path, monkeypatch)
    net = model.get_bare_model(model.net_g)
    before = {key: p.clone() for key, p in net.named_parameters()}
    model.feed_data(default_collate([data['train'][i] for i in range(2)]))
    low, high = net.value_range
    assert low - 1e-6 <= model.gt.min() < model.gt.max() <= high + 1e-6
    model.optimize_parameters(1)
    changed = {key.split('.')[0] for key, p in net.named_parameters() if not torch.equal(p, before[key])}
    assert {'backbone', 'ref_encoder', 'transfer'} <= changed
    assert 'refsel' not in changed
    assert all(math.isfinite(value) for value in model.get_current_log().values())

    model.validation(DataLoader(data['val'], batch_size=1), 1, None, save_img=True)
    best = {arm: model.best_metric_results[f'strangers{arm}']['psnr']['val'] for arm in ('', '_none', '_wrong')}
    assert len(set(best.values())) == 3, json.dumps(best)
    folders = {path.parent.parent.name for path in tmp_path.rglob('visualization*/*/*_1.png')}
    assert folders == {'visualization', 'visualization_none', 'visualization_wrong'}
    assert data['val'].opt['name'] == 'strangers'


def test_the_call_gets_what_the_network_is_given_by_hand(tmp_path, monkeypatch):
    model, data = built(options('RefSRModel'), tmp_path, monkeypatch)
    model.feed_data(default_collate([data['train'][i] for i in range(2)]))
    model.call = {'strength': 0.5}
    model.test()
    refs, valid = model.references['refs'], model.references['ref_valid']
    with torch.no_grad():
        wanted = model.net_g(model.lq, refs=refs, ref_valid=valid, strength=0.5)
        bare = model.net_g.backbone(model.lq)
    assert torch.equal(model.output, wanted)
    assert not torch.equal(wanted, bare)
    model.arm = 'none'
    model.test()
    assert torch.equal(model.output, bare)


def test_strength_warms_up(tmp_path, monkeypatch):
    opt = options('RefSRModel')
    opt['train']['strength_warmup'] = 10
    model, data = built(opt, tmp_path, monkeypatch)
    model.feed_data(default_collate([data['train'][i] for i in range(2)]))
    model.optimize_parameters(3)
    assert model.call == {'strength': 0.3}


def test_a_model_of_ones_own_takes_one_line(tmp_path, monkeypatch):
    class Mine(SRModel):
        """A user's model: a loop of its own."""

        def optimize_parameters(self, current_iter):
            self.seen = self.net_g(self.lq)

    class RefMine(ReferenceMixin, Mine):
        pass

    monkeypatch.setitem(MODEL_REGISTRY._obj_map, 'RefMine', RefMine)
    opt = {**options('RefSRModel'), 'model_type': 'RefMine'}
    model, data = built(opt, tmp_path, monkeypatch)
    model.feed_data(default_collate([data['train'][i] for i in range(2)]))
    model.optimize_parameters(1)
    assert not torch.equal(model.seen, model.net_g.backbone(model.lq))


def test_what_does_not_fit_is_said(tmp_path, monkeypatch):
    opt = options('RefSRModel')
    opt['network_g'].pop('value_range')
    with pytest.raises(RefStarError, match=r'value_range: \[0, 1\]'):
        built(opt, tmp_path, monkeypatch)
    model, _ = built(options('RefSRModel'), tmp_path, monkeypatch)
    with pytest.raises(RefStarError, match='the data set gives no refs'):
        model.feed_data({'lq': torch.zeros(1, 3, SIZE, SIZE)})


def test_component_discriminators_need_to_know_where_the_eyes_are(tmp_path, monkeypatch):
    opt = options('RefGFPGANModel')
    for part in ('left_eye', 'right_eye', 'mouth'):
        opt[f'network_d_{part}'] = {'type': 'FacialComponentDiscriminator'}
    opt['train'] |= {'gan_component_opt': GAN, 'optim_component': copy.deepcopy(ADAM)}
    model, data = built(opt, tmp_path, monkeypatch)
    with pytest.raises(RefStarError, match='loc_mouth, which SyntheticFaceDataset does not give'):
        model.feed_data(default_collate([data['train'][i] for i in range(2)]))
    model.validation(DataLoader(data['val'], batch_size=1), 1, None)
