"""The commands, run as a user runs them: wrong input ends in one line and exit code 2, and changes nothing."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from helpers import forked, runs

from refstar.tools.cli import REFSTAR, basicsr
from refstar.tools.cli import main as refstar
from refstar.tools.cli_common import message_of
from refstar.tools.train import main as train
from refstar.utils.errors import RefStarError

NAME = 'sr_tiny'


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with a finished tiny run."""
    folder = tmp_path_factory.mktemp('user')
    runs.write_images(folder / 'datasets/gt', 4)
    runs.write_images(folder / 'datasets/lq', 4)
    shutil.copy(runs.FIXTURES / f'{NAME}.yml', folder / 'x.yml')
    runs.succeeded(runs.train('-opt', 'x.yml', cwd=folder))
    weights = {'params': torch.nn.Linear(2, 2).state_dict()}
    torch.save(weights, folder / 'another.pth')
    (folder / 'broken.yml').write_text('name: [')
    return folder


@pytest.fixture
def user(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, where commands run in this process."""
    from basicsr.utils import logger

    monkeypatch.chdir(trained)
    monkeypatch.setattr(sys, 'argv', sys.argv)
    monkeypatch.setattr(logger, 'initialized_logger', {})
    return trained


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['-opt', 'none.yml'], 'option file not found: none.yml'),
        (['-opt', 'broken.yml'], 'broken.yml: no valid YAML'),
        (['--force_yml', 'logger:print_freq=0'], 'logger:print_freq: expected a whole number from 1, got 0'),
        (['--force_yml', 'name=2026'], 'name: expected the name of a folder'),
        (['--force_yml', 'train:ema_dcay=0.9'], "'ema_dcay' (train:ema_dcay); nearest: ema_decay"),
        (['--force_yml', 'datasets:train:dataroot_gt=gone'], 'datasets:train:dataroot_gt: gone does not exist'),
        (['--force_yml', 'network_g:type=RRDBNets'], "unknown network 'RRDBNets'"),
        (['--force_yml', 'path:pretrain_network_g=another.pth'], 'another.pth is a checkpoint of another network'),
        (['--force_yml', 'name=fresh', 'path:pretrain_network_g=another.pth'], 'another.pth is a checkpoint of'),
        (['--force_yml', 'datasets:train:batch_size_per_gpu=9'], 'less than a batch of 9'),
        (['--force_yml', 'train:optim_g:type=Adan'], "unknown optimizer 'Adan'"),
        (['--launcher', 'pytorch'], 'torchrun'),
    ],
)
def test_wrong_input_is_one_line_and_changes_nothing(
    user: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    before = runs.files_under(user)
    option = [] if '-opt' in arguments else ['-opt', 'x.yml']
    assert train([*option, *arguments]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and message in errors[0]
    assert runs.files_under(user) == before and not Path('experiments/fresh').exists()


def test_a_finished_run_is_archived_by_the_next_one(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'copy'
    shutil.copytree(trained, folder)
    arguments = ['-opt', 'x.yml', '--force_yml', 'train:total_iter=2']
    assert forked.ended(forked.start(folder, lambda: train(arguments))) == 0
    archived = list(folder.glob(f'experiments/{NAME}_archived_*'))
    assert len(archived) == 1 and (archived[0] / 'models/net_g_6.pth').is_file()
    assert not (folder / f'experiments/{NAME}/models/net_g_6.pth').exists()


def test_the_final_validation_has_the_right_iteration(trained: Path) -> None:
    log = next((trained / f'experiments/{NAME}').glob('*.log')).read_text()
    assert '@ 7 iter' in log and '@ 8 iter' not in log and 'iter:       7' in log


def test_basicsr_test_runs_through_its_entry_point(user: Path) -> None:
    photos = {'name': 'faces', 'type': 'PairedImageDataset', 'dataroot_gt': 'datasets/gt', 'dataroot_lq': 'datasets/lq'}
    network = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 1}
    path = {'pretrain_network_g': f'experiments/{NAME}/models/net_g_latest.pth', 'param_key_g': 'params_ema'}
    opt = {'name': 'sr_test', 'model_type': 'SRModel', 'scale': 1, 'num_gpu': 0, 'path': path}
    opt |= {'datasets': {'test': {**photos, 'io_backend': {'type': 'disk'}}}}
    opt |= {'network_g': network | {'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}}
    opt |= {'val': {'save_img': True, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}}
    runs.write_options(user / 'test.yml', opt)
    assert basicsr(['test', '-opt', 'test.yml']) == 0
    assert '# psnr:' in next(user.glob('results/sr_test/*.log')).read_text()
    assert len(list((user / 'results/sr_test/visualization/faces').glob('*.png'))) == 4


class _Broken(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise RefStarError('faces/3.png: cannot be decoded')


def test_error_in_a_loader_process_is_one_line() -> None:
    with pytest.raises(RefStarError) as error:
        list(torch.utils.data.DataLoader(_Broken(), num_workers=1))
    assert message_of(error.value) == 'faces/3.png: cannot be decoded'


def test_unknown_command_is_named(capsys: pytest.CaptureFixture) -> None:
    assert refstar(['trian']) == 2
    assert "refstar has no command 'trian'" in capsys.readouterr().err


@pytest.mark.parametrize('command', [*sorted(set(REFSTAR) - {'masks'}), 'masks build', 'masks review', 'bank build'])
def test_wrong_flag_is_one_line(command: str, capsys: pytest.CaptureFixture) -> None:
    assert refstar([*command.split(), '--num_refs', 'two', '--no_such_flag']) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('error: ') and lines[0].endswith('--help')
    assert 'see refstar ' + command in lines[0] or 'see basicsr ' + command in lines[0]
