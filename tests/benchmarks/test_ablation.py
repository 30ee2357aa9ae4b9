"""Options and tables of the ablation."""

from pathlib import Path

import ablation_cases
import ablation_networks  # noqa: F401  (registers the baselines)
import ablation_report
import pytest
from trainings import Kind, Networks

from refstar.trainer.option_check import check_options


@pytest.fixture
def case(tmp_path, identity_weights, squeeze_weights) -> ablation_cases.Ablation:
    network = ('mobilefacenet', Path(identity_weights))
    kind = Kind.synthetic(Networks(network, network, Path(squeeze_weights)))
    return ablation_cases.Ablation(kind, 0, tmp_path, {'refsel': 30, 'backbone': 20, 'refstar': 10})


@pytest.mark.parametrize('variant', ablation_cases.VARIANTS)
def test_every_variant_has_valid_options(case, variant, monkeypatch):
    opt = case.training('refstar', 'x', ablation_cases.VARIANTS[variant])
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
