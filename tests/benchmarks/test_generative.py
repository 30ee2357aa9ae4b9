"""Options, tables and picture of the generative benchmark."""

import csv
import json
from pathlib import Path

import generative
import preview_networks  # noqa: F401  (registers its arch)
import pytest
import torch
from basicsr.archs import build_network
from helpers.networks import BACKBONES, images
from trainings import Kind, Networks, slug

from refstar import RefSTAR
from refstar.trainer.option_check import check_options

SMALL = {'type': 'RefSTAR', 'size': 64, 'pixels': 4, 'refsel': {'size': 32, 'channels': 8}}
SMALL |= {'backbone': BACKBONES['FlowRestorer']}


@pytest.fixture
def case(tmp_path, identity_weights, squeeze_weights) -> generative.FlowCase:
    network = ('mobilefacenet', Path(identity_weights))
    kind = Kind.synthetic(Networks(network, network, Path(squeeze_weights)))
    return generative.FlowCase(kind, 0, tmp_path, {'refsel': 3, 'backbone': 4, 'flow': 5})


@pytest.mark.parametrize('variant', generative.VARIANTS)
def test_every_variant_has_valid_options(case, variant):
    opt = case.variant(variant, {'': 'text'})
    opt['path'].update(pretrain_network_mean=None, pretrain_network_refsel=None)
    check_options(opt, is_train=True)
    assert opt['train']['total_iter'] == 5 and opt['model_type'] == 'FlowModel'


def test_every_row_has_valid_options_and_a_name(case):
    network = case.variant(generative.FULL, {'': ''})['network_g']
    names = []
    for row, (val, n) in generative.IN_USE.items():
        opt = case.sampling(generative.FULL, network, row, val, n)
        opt['path']['pretrain_network_g'] = None
        check_options(opt, is_train=False)
        names.append(opt['name'])
    for row, steps in generative.PREVIEWS.items():
        opt = case.sampling(generative.FULL, {**network, 'type': 'RefSTARPreview', 'preview': steps}, row, {})
        opt['path']['pretrain_network_g'] = None
        check_options(opt, is_train=False)
        names.append(opt['name'])
    assert len(set(names)) == len(generative.IN_USE) + len(generative.PREVIEWS) and set(names) <= set(
        case.rows().values()
    )


def test_parts_rest_on_each_other(case, monkeypatch):
    """The files of RefSel and the mean are those that were trained, and a variant rests on their options."""
    calls = []
    monkeypatch.setattr(
        generative.FlowCase, 'call', lambda self, what, opt, of='': calls.append((what, opt, of)) or 'x'
    )
    case.run(case.parts())
    trained = [opt for what, opt, _ in calls if what == 'train']
    assert [opt['name'] for opt in trained[:2]] == ['synthetic_s0_refsel', 'synthetic_s0_mean']
    for opt in trained[2:]:
        assert opt['path']['pretrain_network_mean'].endswith('synthetic_s0_mean/models/net_g_latest.pth')
    assert all(of == 'xx' for what, opt, of in calls[2:] if what == 'train')
    assert {opt['name'] for what, opt, _ in calls if what == 'test'} == set(case.rows().values())


def write_figures(case: generative.FlowCase) -> None:
    """Figures of two people: steps and right references gain, and with references noise matters less."""
    gain, base = {'right': 0.2, 'none': 0.0, 'wrong': 0.01}, {'psnr': 20, 'detail': 0.3, 'detail_energy': 0.5}
    for row, test in case.rows().items():
        folder = case.out / 'results' / test
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for photo in ('1_0', '2_0'):
            for arm, more in gain.items():
                noise = 0.01 * (int(row[-1]) if row.startswith('noise') else 0) * (1 if arm == 'none' else 0.1)
                figures = {**base, 'id_gt': 0.4 + more + noise, 'id_ref': 0.5, 'id_wrong': 0.1 + more}
                figures['detail_energy'] += 0.4 * (row != generative.MEAN)
                rows.append({'image': photo, 'arm': arm, **figures})
        with open(folder / 'metrics_synthetic.csv', 'w', encoding='utf-8') as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        arms = {arm: {k: v for k, v in r.items() if k not in ('image', 'arm')} for r in rows for arm in [r['arm']]}
        (folder / 'metrics_synthetic.json').write_text(json.dumps({'dataset': 'synthetic', 'arms': arms}))


def test_tables(case):
    write_figures(case)
    text = generative.report([case, case])
    assert '| K = 0, the mean | 20.00 / 20.00 / 20.00 |' in text
    assert (
        '| K = 4, none, less the mean | +0.00 [+0.00, +0.00] | +0.000 [+0.000, +0.000] | +0.40 [+0.40, +0.40] |' in text
    )
    assert '| right less none |' in text and '+0.200 [+0.200, +0.200] |' in text
    assert '0.0100 without a reference' in text and '0.0010 with the right one' in text
    assert 'noise 1' not in text


def test_picture(case, tmp_path):
    name = f'synthetic_s0_{slug(generative.FULL)}'
    file = case.out / case.checkpoint(name)
    file.parent.mkdir(parents=True)
    torch.save({'params_ema': build_network(json.loads(json.dumps(SMALL))).state_dict()}, file)
    generative.picture(case, SMALL, tmp_path / 'images/x.png')
    assert (tmp_path / 'images/x.png').stat().st_size > 1000


def test_a_preview_is_the_reference():
    torch.manual_seed(0)
    net = build_network({**SMALL, 'size': 32, 'type': 'RefSTARPreview', 'preview': 0}).eval()
    for p in net.parameters():
        if not p.any():
            torch.nn.init.normal_(p, std=0.05)
    lq = images(1, seed=1)
    with torch.no_grad():
        mean = net.backbone(lq, steps=0)[:, None]
        out = net(lq)
        assert torch.equal(out, RefSTAR.forward(net, lq, mean)) and not torch.equal(out, RefSTAR.forward(net, lq))
