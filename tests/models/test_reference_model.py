"""Models with references: weights of parts, in training and in tests."""

import copy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from helpers.recipes import OPTIONS, parsed
from helpers.shrink import replace_files, shrink
from torch.utils.data import DataLoader, default_collate

from refstar import RefStarError
from refstar.trainer import resume
from refstar.trainer.option_file import load_options


def options(name: str, tmp_path, monkeypatch) -> dict:
    return parsed(
        shrink(replace_files(load_options(OPTIONS / 'demo' / name), tmp_path / 'files')), tmp_path, monkeypatch
    )


def saved(opt: dict, path, seed: int) -> dict[str, torch.Tensor]:
    """Writes a checkpoint of a network whose EMA differs from it; returns the EMA's state dict."""
    torch.manual_seed(seed)
    state, ema = build_network(opt).state_dict(), build_network(opt).state_dict()
    torch.save({'params': state, 'params_ema': ema}, path)
    return ema


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize('name', ['refstar.yml', 'test_backbone.yml'])
def test_parts_are_loaded_from_their_own_files(name, tmp_path, monkeypatch):
    opt = options(name, tmp_path, monkeypatch)
    net = opt['network_g']
    backbone = saved(net['backbone'], tmp_path / 'backbone.pth', 1)
    refsel = saved({'type': 'RefSel', **net['refsel']}, tmp_path / 'refsel.pth', 2)
    opt['path'].update(pretrain_network_backbone=str(tmp_path / 'backbone.pth'))
    opt['path'].update(pretrain_network_refsel=str(tmp_path / 'refsel.pth'))
    model = build_model(opt)
    for made in {model.net_g, model.net_eval}:
        assert equal(made.backbone.state_dict(), backbone)
        assert equal(made.refsel.state_dict(), refsel)


def test_whole_checkpoint_wins_over_parts(tmp_path, monkeypatch):
    opt = options('test_refstar.yml', tmp_path, monkeypatch)
    whole = saved(copy.deepcopy(opt['network_g']), tmp_path / 'whole.pth', 1)
    saved(opt['network_g']['backbone'], tmp_path / 'backbone.pth', 2)
    opt['path'].update(pretrain_network_g=str(tmp_path / 'whole.pth'))
    opt['path'].update(pretrain_network_backbone=str(tmp_path / 'backbone.pth'))
    assert equal(build_model(opt).net_g.state_dict(), whole)


def test_ema_of_new_parts_equals_the_network(tmp_path, monkeypatch):
    """An older checkpoint, without the composite context, into a network with one."""
    opt = options('refstar.yml', tmp_path, monkeypatch)
    saved(copy.deepcopy(opt['network_g']), tmp_path / 'old.pth', 1)
    opt['network_g']['context'] = {'dim': 16, 'channels': 8, 'grid': 2}
    opt['path'].update(pretrain_network_g=str(tmp_path / 'old.pth'), strict_load_g=False)
    model = build_model(opt)
    assert equal(model.net_g.context.state_dict(), model.net_g_ema.context.state_dict())
    assert not equal(model.net_g.backbone.state_dict(), model.net_g_ema.backbone.state_dict())


@pytest.mark.parametrize(
    ('block', 'key', 'value', 'message'),
    [
        ('train', 'freeze', ['refsell'], "no module 'refsell'; nearest: refsel"),
        ('train', 'gan_opt', {'type': 'GANLoss', 'gan_type': 'hinge'}, 'gan_opt needs network_d and train:optim_d'),
        ('train', 'code_opt', {'type': 'CodePredictionLoss'}, 'code_opt needs network_vqgan'),
        ('train', 'backbone_kwargs', {'code_only': True}, 'train:pixel_opt needs an image'),
        ('train', 'person_opt', {'type': 'PersonLoss'}, 'needs a person block'),
        ('network_g', 'value_range', [0, 1], r'value_range: \[-1, 1\]'),
    ],
)
def test_impossible_recipes_are_named(block, key, value, message, tmp_path, monkeypatch):
    opt = options('refstar.yml', tmp_path, monkeypatch)
    opt['train']['selection_opt'] = {'type': 'SelectionLoss'}
    opt[block][key] = value
    with pytest.raises(RefStarError, match=message):
        model = build_model(opt)
        dataset = build_dataset(opt['datasets']['train'])
        model.feed_data(default_collate([dataset[i] for i in range(2)]))
        model.optimize_parameters(1)


@pytest.mark.parametrize(
    ('block', 'key', 'value', 'message'),
    [
        ('train', 'gan_opt', None, 'network_d needs train:gan_opt'),
        ('train', 'pixel_opt', None, 'train:gan_adaptive needs pixel_opt or lpips_opt'),
        ('train', 'optim_d', None, 'train:gan_opt needs network_d and train:optim_d'),
    ],
)
def test_impossible_recipes_of_a_vqgan_are_named(block, key, value, message, tmp_path, monkeypatch):
    opt = parsed(shrink(load_options(OPTIONS / 'train/codeformer_stage1_64.yml')), tmp_path, monkeypatch)
    opt[block][key] = value
    with pytest.raises(RefStarError, match=message):
        build_model(opt)


def test_codes_that_nothing_uses_become_features(tmp_path, monkeypatch):
    model = build_model(parsed(shrink(load_options(OPTIONS / 'train/codeformer_stage1_64.yml')), tmp_path, monkeypatch))
    dataset = build_dataset(model.opt['datasets']['train'])
    model.feed_data(default_collate([dataset[i] for i in range(2)]))
    book = model.net_g.quantize.embedding.weight
    book.data[8:] = 100
    found = []
    for iteration in (9, 10):
        model.optimize_parameters(iteration)
        features = model.net_g.encoder(model.gt).movedim(1, -1).flatten(0, -2)
        found.append((book[8:, None] == features).all(2).any(1).sum().item())
    assert found == [0, 8]


def test_codeformer_begins_with_the_weights_of_its_stage_1(tmp_path, monkeypatch):
    first = parsed(shrink(load_options(OPTIONS / 'train/codeformer_stage1_64.yml')), tmp_path, monkeypatch)
    state = saved(first['network_g'], tmp_path / 'vqgan.pth', 1)
    opt = shrink(replace_files(load_options(OPTIONS / 'train/codeformer_stage2_64.yml'), tmp_path / 'files'))
    opt['path']['pretrain_network_backbone'] = str(tmp_path / 'vqgan.pth')
    model = build_model(parsed(opt, tmp_path, monkeypatch))
    found = model.net_g.backbone.state_dict()
    assert set(state) < set(found)
    assert equal({key: found[key] for key in state}, state)
    opt['path']['strict_load_backbone'] = True
    with pytest.raises(RefStarError, match=r'vqgan\.pth'):
        build_model(parsed(opt, tmp_path, monkeypatch))


@pytest.mark.parametrize(
    ('key', 'value'),
    [('combine', 'sum'), ('strength', 1.5), ('strength', True), ('chunk', 0), ('chunk', True)],
)
def test_validation_settings_are_checked_at_the_start(key, value, tmp_path, monkeypatch):
    opt = options('test_refstar.yml', tmp_path, monkeypatch)
    opt['val'][key] = value
    with pytest.raises(RefStarError, match=f'val:{key} is {value!r}'):
        build_model(opt)


def test_a_backbone_that_enlarges(tmp_path, monkeypatch):
    """The cycle degrades references to the photo's side; pictures show all panels at one size."""
    opt = options('refstar.yml', tmp_path, monkeypatch)
    opt['network_g']['backbone']['scale'] = 4
    with pytest.raises(RefStarError, match='scale: None, but the backbone of network_g enlarges 4 times'):
        build_model(opt)
    opt['scale'] = opt['datasets']['train']['scale'] = 4
    opt['val'], train = {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}, opt['datasets']['train']
    model, data = build_model(opt), [build_dataset({**train, 'phase': phase}) for phase in ('train', 'val')]
    model.feed_data(default_collate([data[0][i] for i in range(2)]))
    assert model.lq.shape[-1] * 4 == model.gt.shape[-1]
    model.optimize_parameters(1)
    assert 'l_cycle_pixel' in model.get_current_log()
    samples = type('Data', (list,), {'opt': data[1].opt})([data[1][0]])
    model.opt['path'].update(log=str(tmp_path), visualization=str(tmp_path / 'pictures'))
    model.validation(DataLoader(samples), 1, None, save_img=True)
    assert set(model.metric_results) == {'right_psnr', 'none_psnr', 'wrong_psnr'}
    assert list((tmp_path / 'pictures').rglob('*_1.png'))


def test_unknown_arms_are_named(tmp_path, monkeypatch):
    opt = options('test_refstar.yml', tmp_path, monkeypatch)
    model, dataset = build_model(opt), build_dataset(opt['datasets']['test_1'])
    model.opt['val']['arms'] = ['rigth']
    with pytest.raises(RefStarError, match="unknown arm 'rigth'; nearest: right"):
        model.validation(DataLoader(dataset), 1, None, save_img=False)
    model.opt['val']['arms'] = None
    samples = type('Data', (list,), {'opt': opt['datasets']['test_1']})([dataset[0]])
    samples[0].pop('wrong_refs')
    with pytest.raises(RefStarError, match="no wrong_refs for the arm 'wrong'"):
        model.validation(DataLoader(samples), 1, None, save_img=False)


def test_several_gpus_need_torchrun(tmp_path, monkeypatch):
    opt = options('refstar.yml', tmp_path, monkeypatch)
    opt['num_gpu'] = 2
    with pytest.raises(RefStarError, match='torchrun --nproc_per_node 2'):
        build_model(opt)


def test_resuming_leaves_frozen_networks_alone(tmp_path):
    state = {'epoch': 0, 'iter': 4, 'optimizers': [], 'schedulers': []}
    torch.save(state, tmp_path / '4.state')
    (tmp_path / 'net_g_4.pth').touch()
    path = {
        'resume_state': str(tmp_path / '4.state'),
        'models': str(tmp_path),
        'training_states': str(tmp_path),
        'pretrain_network_vqgan': 'vqgan.pth',
        'param_key_vqgan': 'params_ema',
        'param_key_g': 'params_ema',
    }
    resume.load_resume_state({'auto_resume': False, 'network_g': {}, 'network_vqgan': {}, 'path': path})
    assert path['pretrain_network_g'].endswith('net_g_4.pth') and path['param_key_g'] == 'params'
    assert (path['pretrain_network_vqgan'], path['param_key_vqgan']) == ('vqgan.pth', 'params_ema')
