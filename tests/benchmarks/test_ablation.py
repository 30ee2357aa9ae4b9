"""Options and tables of the ablation."""

from pathlib import Path

import ablation
import ablation_networks  # noqa: F401  (registers the baselines)
import ablation_report
import pytest

from refstar.trainer.option_check import check_options


@pytest.fixture
def case(tmp_path, identity_weights, squeeze_weights) -> ablation.Case:
    network = ('mobilefacenet', Path(identity_weights))
    networks = ablation.Networks(network, network, Path(squeeze_weights))
    return ablation.Case('synthetic', 0, tmp_path, networks, {'refsel': 30, 'backbone': 20, 'refstar': 10})


def test_variants_share_backbone_and_refsel(case, monkeypatch):
    trained = {}
    monkeypatch.setattr(
        ablation.Case, 'call', lambda self, command, opt, of='': trained.update({opt['name']: opt}) or ''
    )
    case.run(case.refsels())
    opts = [trained[f'synthetic_s0_{i}'] for i in range(len(ablation.VARIANTS))]
    assert {opt['path']['pretrain_network_backbone'] for opt in opts} == {case.checkpoint('synthetic_s0_backbone')}
    refsels = [opt['path']['pretrain_network_refsel'] for opt in opts]
    assert refsels == [case.checkpoint('synthetic_s0_refsel')] * (len(opts) - 1) + [refsels[-1]]
    assert refsels[-1] == case.checkpoint('synthetic_s0_refsel_person')
    bare = trained['synthetic_s0_bare']
    assert bare['train']['total_iter'] == opts[0]['train']['total_iter'] == 10
    assert bare['train']['scheduler']['periods'] == [10]
    assert trained['synthetic_s0_refsel_person']['train']['person_opt']['type'] == 'PersonLoss'
    used = {row: trained[f'synthetic_s0_{len(opts) - 1}_{ablation.suffix_of(row)}'] for row in ablation.IN_USE}
    assert {opt['network_g']['refsel']['person']['strictness'] for opt in used.values()} == {ablation.STRICT}
    four = used['4 references, guidance']
    assert four['val']['combine'] == 'guidance' and four['datasets']['test_0']['num_refs'] == 4
    assert 'arms' not in four['val']  # all three


@pytest.mark.parametrize('variant', ablation.VARIANTS)
def test_every_variant_has_valid_options(case, variant, monkeypatch):
    opt = case.training('refstar', 'x', ablation.VARIANTS[variant])
    opt['path']['pretrain_network_refsel'] = None
    check_options(opt, is_train=True)
    check_options(case.test('x', opt['network_g'], {'pretrain_network_g': None}, 'test', {}, 4), is_train=False)
    assert opt['datasets']['train']['identities'] == 500 and opt['train']['total_iter'] == 10


def test_tables_and_plots_go_between_the_marks(tmp_path):
    def arms(x: float) -> dict:
        figures = {'psnr': 20 + x, 'ssim': 0.5, 'lpips': 0.2, 'detail': 0.1 + x, 'id_gt': x, 'id_ref': x, 'id_wrong': x}
        return {'right': dict(figures), 'none': {**figures, 'id_wrong': 0.0}, 'wrong': dict(figures)}

    bare = {'none': arms(0.0)['none']}
    seeds = [
        {'no reference': {'set': bare}, 'full': {'set': arms(x)}, '2 references': {'set': arms(x)}} for x in (0.1, 0.3)
    ]
    table = ablation_report.collect(seeds)
    text = ablation_report.markdown(table)
    assert '| full | 20.20 / 20.20 / 20.20 |' in text
    assert text.count('| no reference | – / 20.00 / – |') == 1
    assert '| 0.200 |' in text  # copied
    assert 'psnr 0.100' in text
    docs = tmp_path
    (docs / 'images').mkdir()
    (docs / 'experiments.md').write_text(f'before\n{ablation_report.BEGIN}\nold\n{ablation_report.END}\nafter\n')
    ablation_report.write_docs(docs, text, table)
    written = (docs / 'experiments.md').read_text()
    assert 'old' not in written and written.startswith('before') and written.endswith('after\n')
    assert (docs / 'images/ablation_set.png').stat().st_size > 1000
