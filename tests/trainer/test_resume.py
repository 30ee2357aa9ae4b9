"""Resuming: samples, random states, training states, and which checkpoints are kept."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR
from torch import nn
from torch.utils.data import DataLoader, Dataset

from refstar.trainer import resume
from refstar.trainer.resume import ResumableSampler, SeededDataset, SeededIndex, random_states, set_random_states
from refstar.utils.checkpoint import load_file, save_atomically
from refstar.utils.errors import RefStarError


class Chance(Dataset):
    """Samples that draw from every source of chance."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[int, float, float, torch.Tensor]:
        return index, random.random(), np.random.rand(), torch.rand(())


def test_samples_depend_on_their_place_alone() -> None:
    places = [SeededIndex.at(index % 8, 7, 0, index) for index in range(16)]
    torch.manual_seed(0)
    wanted = torch.rand(2)
    torch.manual_seed(0)
    kinds = ({'batch_size': 4}, {'batch_size': 2, 'num_workers': 2, 'multiprocessing_context': 'fork'})
    first, second = (
        [torch.stack([torch.as_tensor(x, dtype=torch.float64).flatten() for x in batch], 1) for batch in loader]
        for loader in (
            DataLoader(SeededDataset(Chance()), sampler=places, generator=torch.Generator(), **kind) for kind in kinds
        )
    )
    assert torch.equal(torch.rand(2), wanted)  # the training's own chance was left alone
    first, second = torch.cat(first), torch.cat(second)
    assert torch.equal(first, second)
    assert len(first[:, 1:].unique()) == first[:, 1:].numel()  # the same photo is drawn anew in its second place


def test_a_resumed_sampler_goes_on_where_the_killed_one_stopped() -> None:
    def iterations(start: int) -> list[int]:
        sampler = ResumableSampler(range(7), 1, 0, batch_size=2, total_iters=8, start_iter=start)
        assert sampler.batches == 3
        seen = []
        for epoch in range(sampler.epoch_of(start), 3):
            sampler.set_epoch(epoch)
            seen += list(sampler)
        return seen

    whole = iterations(0)
    assert len(whole) == 16
    for start in range(1, 9):
        assert iterations(start) == whole[2 * start :], start


def test_a_dataset_smaller_than_a_batch_is_an_error() -> None:
    with pytest.raises(RefStarError, match='3 samples per process are less than a batch of 4'):
        ResumableSampler(range(3), 1, 0, batch_size=4, total_iters=10)


def test_random_states_round_trip(tmp_path: Path) -> None:
    save_atomically(random_states(), tmp_path / 'states')
    first = random.random(), np.random.rand(), torch.rand(2)
    set_random_states(load_file(tmp_path / 'states'))
    again = random.random(), np.random.rand(), torch.rand(2)
    assert first[:2] == again[:2] and torch.equal(first[2], again[2])


def test_the_latest_state_is_found_under_the_root_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = {'models': str(tmp_path), 'training_states': str(tmp_path)}
    model = BaseModel({'num_gpu': 0, 'is_train': True, 'dist': False, 'path': dict(path)})
    model.optimizers = [torch.optim.Adam([nn.Parameter(torch.ones(1))])]
    for label in (8, 16):
        model.save_training_state(0, label)
    monkeypatch.chdir('/')
    opt = {'auto_resume': True, 'path': path, 'rank': 0}
    assert resume.load_resume_state(opt)['iter'] == 16 and opt['path']['resume_state'] == str(tmp_path / '16.state')
    save_atomically({'params': 1}, tmp_path / '16.state')
    with pytest.raises(RefStarError, match=r'16\.state is no training state'):
        resume.load_resume_state(opt)


def test_a_state_of_another_recipe_is_named() -> None:
    model = BaseModel({'num_gpu': 0, 'is_train': True, 'dist': False})
    with pytest.raises(RefStarError, match=r'\(2 optimizers instead of 0\); a state is good only'):
        model.resume_training({'optimizers': [1, 2], 'schedulers': []})


def test_a_state_of_another_run_is_named(tmp_path: Path) -> None:
    for run in ('old', 'new'):
        (tmp_path / run / 'models').mkdir(parents=True)
    state = {'epoch': 0, 'iter': 4, 'optimizers': [], 'schedulers': []}
    (tmp_path / 'old/training_states').mkdir()
    save_atomically(state, tmp_path / 'old/training_states/4.state')
    save_atomically(state, tmp_path / 'moved.state')

    def load(file: str, name: str) -> None:
        folders = {key: str(tmp_path / name / key) for key in ('models', 'training_states')}
        path = {'resume_state': str(tmp_path / file), **folders}
        resume.load_resume_state({'name': name, 'auto_resume': False, 'path': path, 'network_g': {}})

    with pytest.raises(RefStarError, match='is of the run old, this is new; a state is good only for its own run'):
        load('old/training_states/4.state', 'new')
    with pytest.raises(RefStarError, match=r'needs .*old/models/net_g_4\.pth, which is not there'):
        load('moved.state', 'old')
    (tmp_path / 'old/models/net_g_4.pth').touch()
    load('old/training_states/4.state', 'old')


def test_a_resumed_run_follows_the_schedule_of_its_option_file() -> None:
    def make(periods: list[int]) -> BaseModel:
        model = BaseModel({'num_gpu': 0, 'is_train': True, 'dist': False})
        model.optimizers = [torch.optim.SGD([nn.Parameter(torch.ones(1))], 1.0)]
        model.schedulers = [CosineAnnealingRestartLR(model.optimizers[0], periods, [1] * len(periods))]
        return model

    old, new = make([2]), make([2, 2])
    for _ in range(2):
        old.optimizers[0].step(), old.schedulers[0].step()
    new.resume_training(
        {'optimizers': [old.optimizers[0].state_dict()], 'schedulers': [old.schedulers[0].state_dict()]}
    )
    assert new.schedulers[0].last_epoch == 2 and new.schedulers[0].cumulative_period == [2, 4]
    new.optimizers[0].step(), new.schedulers[0].step()
    assert new.schedulers[0].get_last_lr() == [pytest.approx(0.5)]


def test_old_checkpoints_go_after_the_new_one_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for iteration in (2, 4, 6, 8):
        for name in (f'{iteration}.state', f'net_g_{iteration}.pth', f'net_d_{iteration}.pth'):
            (tmp_path / name).touch()
    (tmp_path / 'net_g_best.pth').touch()
    opt = {'path': dict.fromkeys(('models', 'training_states'), str(tmp_path)), 'logger': {'keep_last': 2}}
    gone = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, 'unlink', lambda path: (gone.append(path.name), unlink(path)))
    resume.prune(opt, 6)  # 8 is of an earlier run, which went further
    assert gone[0] == '2.state' and set(gone[1:]) == {'net_g_2.pth', 'net_d_2.pth'}
    (tmp_path / '4.state').unlink()  # killed while deleting
    resume.prune(opt, 8)
    kinds = ('{}.state', 'net_g_{}.pth', 'net_d_{}.pth')
    assert {path.name for path in tmp_path.iterdir()} == {
        'net_g_best.pth',
        *(kind.format(i) for i in (6, 8) for kind in kinds),
    }


def test_random_states_are_those_of_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        states.append(resume.random_states())
    monkeypatch.setattr(resume, 'get_dist_info', lambda: (1, 2))
    resume.restore_random_states({'random_states': states})
    found = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(found, torch.rand(3))
