"""benchmarks/backbones.py at toy size: every option is known, one backbone goes all the way, the table."""

from pathlib import Path

import backbones
import pytest
import trainings
from helpers import forked
from trainings import Kind, Networks

from refstar.tools.test import main as run_test
from refstar.tools.train import main as run_train
from refstar.trainer.option_check import check_options

SIZE = 32


class Toy(backbones.Comparison):
    """With small batches."""

    def training(self, step: str, experiment: str, changes: dict) -> dict:
        small = {'datasets.train.batch_size_per_gpu': 2, 'datasets.train.num_worker_per_gpu': 0}
        return super().training(step, experiment, changes | small)


@pytest.fixture
def case(tmp_path, identity_weights, squeeze_weights) -> Toy:
    network = ('mobilefacenet', Path(identity_weights))
    kind = Kind.synthetic(Networks(network, network, Path(squeeze_weights)))
    kind.train.update(identities=8, photos_per_identity=4)
    kind.tests['synthetic'].update(identities=2, photos_per_identity=2)
    iterations = dict.fromkeys(('refsel', 'vqgan', 'backbone', 'refstar'), 1)
    return Toy(kind, 0, tmp_path, iterations, SIZE)


@pytest.mark.parametrize('name', backbones.BACKBONES)
def test_options_are_known_and_the_network_is_built(case, name):
    for part in ('backbone', 'bare', 'right'):
        opt = case.options(name, part, 'x.pth')
        opt['path'] = {key: value for key, value in opt['path'].items() if not key.startswith('pretrain_')}
        check_options(opt, is_train=True)
        tested = case.tested(name, part)
        tested['path'] = {}
        check_options(tested, is_train=False)
    cost = case.cost(name, rounds=1)
    assert 0 < cost['added'] < 2 and cost['backbone'] > 0


@pytest.mark.slow
def test_codeformer_goes_all_the_way_and_is_not_done_twice(case, monkeypatch):
    """Its stage I, RefSel, three trainings, two tests."""
    commands = []

    def run(command: str, flags: list[str], folder: Path, log: str) -> int:
        commands.append(command)
        main = {'train': run_train, 'test': run_test}[command]
        return forked.ended(forked.start(folder, lambda: main(flags), log))

    monkeypatch.setattr(trainings, 'run_program', run)
    for _ in range(2):
        case.run('CodeFormer', case.refsel(True))
    assert commands == ['train', 'train', 'train', 'train', 'test', 'train', 'test']
    rows = case.rows('CodeFormer')['synthetic']
    assert list(rows) == ['right', 'none', 'wrong', 'bare'] and len(rows['bare']) == 4
    found = {'synthetic': {'CodeFormer': rows}}
    text = backbones.markdown(found, {'CodeFormer': {'backbone': 1.0, 'added': 0.5, 'time': 0.25}})
    assert '| CodeFormer | 1.00 | 0.50 | +25% |' in text and '4 photos' in text


def test_the_table_compares_photo_by_photo():
    def arm(shift: float) -> dict:
        values = {'psnr': 20 + shift, 'lpips': 0.2, 'detail': 0.3 + shift, 'id_gt': shift, 'id_wrong': 0.1 * shift}
        return {f'{who}_{i}': {m: v + i for m, v in values.items()} for who in 'ab' for i in (0, 1)}

    rows = {'right': arm(0.5), 'none': arm(0.1), 'wrong': arm(0.2), 'bare': arm(0.0)}
    text = backbones.markdown({'set': {'net': rows}}, {})
    assert '| net | 21.00 / 20.60 / 20.70 / 20.50 |' in text
    assert '| net | +0.500 [+0.500, +0.500] | +0.500 [+0.500, +0.500] | +0.010 [+0.010, +0.010] |' in text


def test_a_missing_file_ends_the_program_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr('sys.argv', ['x', str(tmp_path), '--weights', str(tmp_path), '--out', str(tmp_path / 'out')])
    with pytest.raises(SystemExit, match=r'error: .*not there'):
        backbones.main()
    assert not (tmp_path / 'out').exists()
