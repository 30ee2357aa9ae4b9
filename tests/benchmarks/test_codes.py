"""benchmarks/codes.py: every option is known, references enter where the way says, the table."""

import subprocess
import sys
from pathlib import Path

import codes
import pytest
from basicsr.archs import build_network
from trainings import Kind, Networks

from refstar.trainer.option_check import check_options


@pytest.fixture
def case(tmp_path, identity_weights) -> codes.Codes:
    network = ('mobilefacenet', Path(identity_weights))
    kind = Kind.synthetic(Networks(network, network, None))
    return codes.Codes(kind, 0, tmp_path, dict.fromkeys(('refsel', 'vqgan', 'refstar', 'stage2', 'stage3'), 9))


@pytest.mark.parametrize('way', codes.WAYS)
def test_every_stage_has_valid_options(case, way):
    for stage in codes.STAGES:
        opt = case.stage(stage, way, 'refsel.pth')
        opt['path'] = {key: value for key, value in opt['path'].items() if not key.startswith('pretrain_')}
        check_options(opt, is_train=True)
        assert opt['train']['total_iter'] == 9 and opt['name'] == case.experiment(way, stage)
    tested = case.tested(way, 0.5)
    tested['path'] = {}
    check_options(tested, is_train=False)


@pytest.mark.parametrize(
    ('way', 'taps', 'context'),
    [('context', 0, True), ('encoder', 2, False), ('generator', 2, False), ('all three', 4, True)],
)
def test_references_enter_where_the_way_says(case, way, taps, context):
    net = build_network(case.way(way))
    assert len(net.taps) == taps and (net.context is not None) == context


def test_the_table_has_a_row_for_every_way_and_w():
    arm = {f'{who}_0': {'psnr': 20.0, 'lpips': 0.2, 'detail': 0.3, 'id_gt': 0.5} for who in 'ab'}
    better = {photo: {**row, 'id_gt': 0.7} for photo, row in arm.items()}
    found = {'set': {'context, w = 0': {'right': better, 'none': arm, 'wrong': arm}}}
    text = codes.markdown(found)
    assert '0.700 / 0.500 / 0.500' in text
    assert '| context, w = 0 | +0.000 [+0.000, +0.000] | +0.200 [+0.200, +0.200] |' in text


def test_as_a_program_a_missing_file_is_one_line(tmp_path):
    """A process of its own, in which nothing imported refstar before."""
    argv = [sys.executable, codes.__file__, str(tmp_path), '--weights', str(tmp_path), '--out', str(tmp_path / 'out')]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stderr.count('\n') == 1 and 'not there' in ended.stderr
    assert not (tmp_path / 'out').exists()
