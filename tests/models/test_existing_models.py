"""Existing BasicSR models with references: their own loops train and validate in three arms."""

import copy
import json
import math

import pytest
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY
from helpers.networks import SIZE
from helpers.recipes import ADAM, GAN, MODELS, built, existing_options
from torch.utils.data import DataLoader, default_collate

from refstar import RefStarError
from refstar.models.reference_mixin import ReferenceMixin


@pytest.mark.parametrize('name', MODELS)
def test_trains_and_validates_in_three_arms(name, tmp_path, monkeypatch):
    model, data = built(existing_options(name), tmp_path, monkeypatch)
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


def test_call_gets_the_references_of_the_batch(tmp_path, monkeypatch):
    model, data = built(existing_options('RefSRModel'), tmp_path, monkeypatch)
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
    opt = existing_options('RefSRModel')
    opt['train']['strength_warmup'] = 10
    model, data = built(opt, tmp_path, monkeypatch)
    model.feed_data(default_collate([data['train'][i] for i in range(2)]))
    model.optimize_parameters(3)
    assert model.call == {'strength': 0.3}


def test_own_model_takes_one_class(tmp_path, monkeypatch):
    class Mine(SRModel):
        """A user's model: a loop of its own."""

        def optimize_parameters(self, current_iter):
            self.seen = self.net_g(self.lq)

    class RefMine(ReferenceMixin, Mine):
        pass

    monkeypatch.setitem(MODEL_REGISTRY._obj_map, 'RefMine', RefMine)
    opt = {**existing_options('RefSRModel'), 'model_type': 'RefMine'}
    model, data = built(opt, tmp_path, monkeypatch)
    model.feed_data(default_collate([data['train'][i] for i in range(2)]))
    model.optimize_parameters(1)
    assert not torch.equal(model.seen, model.net_g.backbone(model.lq))


def test_missing_references_and_range_are_named(tmp_path, monkeypatch):
    opt = existing_options('RefSRModel')
    opt['network_g'].pop('value_range')
    with pytest.raises(RefStarError, match=r'value_range: \[0, 1\]'):
        built(opt, tmp_path, monkeypatch)
    model, _ = built(existing_options('RefSRModel'), tmp_path, monkeypatch)
    with pytest.raises(RefStarError, match='the dataset gives no refs'):
        model.feed_data({'lq': torch.zeros(1, 3, SIZE, SIZE)})


@pytest.mark.parametrize(
    ('model', 'scale', 'message'),
    [
        ('RefSRModel', 2, 'scale: 2, but the backbone of network_g keeps the size; write scale: 1'),
        ('RefESRGANModel', None, 'scale: None, but the backbone of network_g enlarges 4 times; write scale: 4'),
    ],
)
def test_scale_that_is_not_the_networks_is_named(model, scale, message, tmp_path, monkeypatch):
    with pytest.raises(RefStarError, match=message):
        built(existing_options(model) | {'scale': scale}, tmp_path, monkeypatch)


def test_component_discriminators_need_places(tmp_path, monkeypatch):
    opt = existing_options('RefGFPGANModel')
    for part in ('left_eye', 'right_eye', 'mouth'):
        opt[f'network_d_{part}'] = {'type': 'FacialComponentDiscriminator'}
    opt['train'] |= {'gan_component_opt': GAN, 'optim_component': copy.deepcopy(ADAM)}
    model, data = built(opt, tmp_path, monkeypatch)
    with pytest.raises(RefStarError, match='loc_mouth, which SyntheticFaceDataset does not give'):
        model.feed_data(default_collate([data['train'][i] for i in range(2)]))
    model.validation(DataLoader(data['val'], batch_size=1), 1, None)


# --------------------------------------------------------------------- Real-ESRGAN
def test_references_go_through_the_pool_with_their_photo(tmp_path, monkeypatch):
    model, data = built(existing_options('RefRealESRGANModel'), tmp_path, monkeypatch)
    first, second = (default_collate([data['train'][i] for i in indices]) for indices in ((0, 1), (2, 3)))
    first['ref_valid'] = torch.tensor([[True, False], [True, True]])
    model.feed_data(first)
    before = model.gt, model.references['refs'], model.references['ref_valid']
    assert model.lq.shape[-1] * 2 == model.gt.shape[-1]
    model.feed_data(second)  # the pool is full: the first ones come back, in any order
    after = model.gt, model.references['refs'], model.references['ref_valid']
    order = [next(j for j in range(2) if torch.equal(photo, before[0][j])) for photo in after[0]]
    assert sorted(order) == [0, 1]
    assert all(torch.equal(new, old[order]) for new, old in zip(after, before, strict=True))
    model.optimize_parameters(1)


def test_realesrgan_trains_on_pairs_too(tmp_path, monkeypatch):
    opt = existing_options('RefRealESRGANModel') | {'high_order_degradation': False}
    model, data = built(opt, tmp_path, monkeypatch)
    batch = default_collate([data['train'][i] for i in range(2)])
    model.feed_data(batch)
    torch.testing.assert_close(model.lq, (batch['lq'] + 1) / 2)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'gt_size': 256}, 'gt_size: 256, but faces are not cropped; write network_g.size, 32'),
        ({'kernels': {'kernel_prob2': [1.0]}}, 'kernels:kernel_list2: one kernel_prob2 each'),
        ({'kernels': {'kernel_list': ['round'], 'kernel_prob': [1.0]}}, 'kernels:kernel_list: .* of iso, aniso'),
        ({'resize_range': [0.15, 1.5]}, 'resize_range: .* 32 pixels become as small as 4, .* at least 11'),
        ({'kernels': {'sinc_probb': 0.1}}, "unknown key 'sinc_probb' .*nearest: sinc_prob"),
        ({'kernels': {'blur_sigma': 3}}, r'kernels:blur_sigma: expected \[low, high\], got 3'),
    ],
)
def test_wrong_degradation_of_realesrgan_is_named(change, message, tmp_path, monkeypatch):
    with pytest.raises(RefStarError, match=message):
        built(existing_options('RefRealESRGANModel') | change, tmp_path, monkeypatch)
