"""The steps of `refstar demo`: option files, and what is done."""

from pathlib import Path

import pytest
import yaml
from helpers.shrink import replace_files

from refstar.evaluation.demo_steps import plan, run_steps, set_option
from refstar.trainer.option_check import check_options
from refstar.trainer.option_file import load_options
from refstar.utils.errors import RefStarError


def write_overrides(path: Path, table: dict) -> Path:
    path.write_text(yaml.safe_dump(table))
    return path


@pytest.mark.parametrize(
    ('override', 'restarted'),
    [
        ({'refstar': {'train.grad_clip': 0.5}}, {'refstar', 'test_refstar'}),
        ({'backbone': {'manual_seed': 5}}, {'backbone', 'test_backbone'}),
        ({'refsel': {'manual_seed': 5}}, {'refsel', 'test_refsel', 'refstar', 'test_refstar'}),
        ({'refsel': {'logger.print_freq': 7}}, set()),
    ],
)
def test_changed_option_restarts_its_step_and_its_users(tmp_path, override, restarted):
    before = plan('demo', 'demo', tmp_path)
    after = plan('demo', 'demo', tmp_path, write_overrides(tmp_path / 'x.yml', override))
    assert {a.name for a, b in zip(after, before, strict=True) if a.fingerprint != b.fingerprint} == restarted


def test_prefix_renames_every_experiment(tmp_path):
    for step in plan('demo', 'mine', tmp_path):
        assert step.experiment == f'mine_{step.name}'
        assert 'demo_' not in step.file.read_text()
        assert load_options(step.file) == step.options


def test_experiment_is_a_longer_demo(tmp_path):
    demo, experiment = plan('demo', 'demo', tmp_path / 'a'), plan('experiment', 'experiment', tmp_path / 'b')
    for short, long in zip(demo, experiment, strict=True):
        assert long.experiment == f'experiment_{long.name}'
        assert long.iterations >= short.iterations
        assert long.options['model_type'] == short.options['model_type']
        check_options(replace_files(long.options, tmp_path / 'files'), long.command == 'train')
        if long.command == 'train':
            assert sum(long.options['train']['scheduler']['periods']) == long.iterations
    by_name = {step.name: step for step in experiment}
    assert by_name['backbone'].iterations >= by_name['refstar'].iterations  # the baseline is not the less trained one


def test_wrong_overrides_are_named(tmp_path):
    with pytest.raises(RefStarError, match=r'no block datasets\.trian'):
        set_option({'datasets': {}}, 'datasets.trian.seed', 1)
    with pytest.raises(RefStarError, match='expected a step'):
        plan('demo', 'demo', tmp_path, write_overrides(tmp_path / 'x.yml', {'refsle': {}}))


def test_broken_ledger_is_named(tmp_path):
    (tmp_path / 'steps.json').write_text('{')
    with pytest.raises(RefStarError, match=r'steps\.json: broken'):
        run_steps([], tmp_path)
