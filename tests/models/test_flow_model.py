"""FlowModel: training of a generative backbone on its shipped recipe, made small."""

import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from helpers.networks import randomised
from helpers.recipes import OPTIONS, parsed
from helpers.shrink import replace_files, shrink
from torch.utils.data import DataLoader, default_collate

from refstar import RefStarError
from refstar.trainer.option_file import load_options


@pytest.fixture
def opt(tmp_path, monkeypatch) -> dict:
    file = OPTIONS / 'train' / 'flow_64.yml'
    return parsed(shrink(replace_files(load_options(file), tmp_path / 'files')), tmp_path, monkeypatch)


def losses(model, opt: dict) -> dict[str, float]:
    """The losses of one iteration on the same photos, times and noise."""
    data = build_dataset(opt['datasets']['train'])
    model.feed_data(default_collate([data[i] for i in range(4)]))
    torch.manual_seed(1)
    model.optimize_parameters(1)
    return model.get_current_log()


def test_mean_is_loaded_and_never_trained(opt, tmp_path):
    torch.manual_seed(3)
    mean = build_network(opt['network_g']['backbone']['mean']).state_dict()
    torch.save({'params_ema': mean}, tmp_path / 'mean.pth')
    opt['path'].update(pretrain_network_mean=str(tmp_path / 'mean.pth'), param_key_mean='params_ema')
    model = build_model(opt)
    assert losses(model, opt)['l_flow'] > 0
    for net in (model.net_g, model.net_g_ema):
        assert all(torch.equal(x, mean[key]) for key, x in net.backbone.mean.state_dict().items())


class Heard(torch.nn.Module):
    """An identity loss that keeps what it is given."""

    def forward(self, out, gt, refs, valid, weight):
        self.out, self.weight = out, weight
        return {'gt': out.mean()}


def test_identity_loss_counts_by_time(opt):
    """It sees the predicted photo, with the share of the photo in each state, or without."""
    model, heard = build_model(opt), Heard()
    model.criteria['identity'] = heard
    assert 'l_identity_gt' in losses(model, opt)
    assert heard.out.shape == model.gt.shape and heard.out.requires_grad
    assert (heard.weight.sort().values * 4).long().tolist() == [0, 1, 2, 3]  # a time of every quarter
    model.opt['train']['identity_by_time'] = False
    losses(model, opt)
    assert heard.weight is None


def test_arms_share_steps_and_noise(opt):
    """Without weights for references all arms are one; the seed and the steps of `val` say which."""
    model, data = build_model(opt), build_dataset(opt['datasets']['val'])
    torch.nn.init.normal_(model.net_g_ema.backbone.velocity.out[-1].weight)
    model.feed_data(default_collate([data[0]]))
    with torch.no_grad():
        outs = [model.test_arm(arm)['result'] for arm in model.arms]
        assert all(torch.equal(out, outs[0]) for out in outs)
        model.opt['val']['seed'] = 1
        assert not torch.equal(model.test_arm('none')['result'], outs[0])
        model.opt['val']['steps'] = 0
        assert torch.equal(model.test_arm('right')['result'], model.net_g_ema.backbone.mean(model.lq))


def test_guidance_in_validation(opt, tmp_path):
    opt['val'].update(combine='guidance', guidance_scale=1.5)
    model, data = build_model(opt), build_dataset(opt['datasets']['val'])
    randomised(model.net_g_ema)
    samples = type('Data', (list,), {'opt': data.opt})([data[0]])
    model.opt['path'].update(log=str(tmp_path), visualization=str(tmp_path / 'pictures'))
    model.validation(DataLoader(samples), 1, None, save_img=True)
    assert {f'{arm}_psnr' for arm in ('right', 'none', 'wrong')} <= set(model.metric_results)


@pytest.mark.parametrize(
    ('block', 'key', 'value', 'message'),
    [
        ('train', 'pixel_opt', {'type': 'L1Loss'}, 'train:pixel_opt: FlowModel has no such loss; it has flow_opt'),
        ('train', 'flow_opt', None, 'train:flow_opt is missing'),
        ('train', 'backbone_kwargs', {'steps': 1}, 'train:backbone_kwargs: FlowModel does not use it'),
        ('network_g', 'backbone', None, 'must be a FlowRestorer, not RRDBNet'),
        ('path', 'pretrain_network_mean', 'mean.pth', 'pretrain_network_mean: RefSTAR has no mean'),
    ],
)
def test_impossible_recipes_are_named(block, key, value, message, opt):
    opt['train']['identity_opt'] = opt['train'].get('identity_opt')
    if block in ('network_g', 'path'):
        opt['network_g']['backbone'] = opt['network_g']['backbone']['mean']
        opt['network_g'].update(pixels=0, context=None)
    opt[block][key] = value or opt[block].get(key) if block == 'network_g' else value
    with pytest.raises(RefStarError, match=message):
        build_model(opt)
