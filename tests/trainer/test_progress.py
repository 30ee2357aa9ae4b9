"""What a training shows: remaining time, speed, waiting for data, pictures of masks and flow in TensorBoard."""

import itertools
import logging
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers import kill_resume, runs
from helpers.shrink import replace_files, shrink
from test_shipped_options import OPTIONS

from refstar.models import tensorboard
from refstar.models.pictures import flow_colours
from refstar.trainer import progress
from refstar.trainer.option_file import load_options
from refstar.utils.errors import RefStarError
from refstar.utils.training_log import parse_line


def events(folder: Path) -> Any:
    """What is in the TensorBoard files of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), {'images': 0, 'scalars': 0})
    found.Reload()
    return found


def message_logger(start_iter: int = 0, processes: int = 2, gpus: int = 0, **train: Any) -> progress.MessageLogger:
    logging.getLogger('basicsr').setLevel(logging.INFO)
    opt = {
        'name': 'a_run',
        'logger': {'print_freq': 1},
        'train': {'total_iter': 10, **train},
        'datasets': {'train': {'batch_size_per_gpu': 3}},
        'dist': processes > 1,
        'world_size': processes,
        'num_gpu': gpus,
    }
    return progress.MessageLogger(opt, start_iter, None)


@pytest.mark.parametrize(('processes', 'gpus', 'images'), [(1, 0, 3), (1, 1, 3), (1, 4, 12), (4, 8, 12)])
def test_images_of_a_step_are_those_that_basicsr_loads(processes: int, gpus: int, images: int) -> None:
    assert message_logger(processes=processes, gpus=gpus).images == images


def line(show: progress.MessageLogger, caplog: pytest.LogCaptureFixture, iteration: int) -> str:
    caplog.clear()
    with caplog.at_level('INFO', 'basicsr'):
        show({'epoch': 0, 'iter': iteration, 'lrs': [1e-3], 'time': 2.0, 'data_time': 0.5, 'l_pix': 0.25})
    return caplog.records[-1].getMessage()


def test_the_line_is_basicsrs_and_says_more(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    monkeypatch.setattr(time, 'time', lambda: now[0])
    monkeypatch.setattr(time, 'perf_counter', lambda: now[0])
    show = message_logger(accumulate=2)
    now[0] += 60  # iteration 1 compiles
    show.reset_start_time()
    assert '[eta: 0:00:18, time (data): 2.000 (0.500)] l_pix: 2.5000e-01 ' in line(show, caplog, 1)
    with progress._clock.part(progress.DATA):
        now[0] += 2
    with progress._clock.part(progress.ASIDE):
        now[0] += 4  # a validation
    now[0] += 6
    text = line(show, caplog, 5)
    assert text.startswith('[a_run..][epoch:  0, iter:       5, lr:(1.000e-03,)] [eta: 0:00:15, ')
    terms = parse_line(text).terms
    assert terms == {'l_pix': 0.25, 'images_per_s': 3 * 2 * 2 * 4 / 8, 'data_wait': 2 / 8}
    now[0] += 1
    text = line(show, caplog, 10)
    assert parse_line(text).terms['images_per_s'] == 60 and '[eta: 0:00:00, ' in text


def test_a_resumed_run_counts_its_own_iterations(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    monkeypatch.setattr(time, 'time', lambda: now[0])
    show = message_logger(start_iter=6)
    now[0] += 6
    assert '[eta: 0:00:06, ' in line(show, caplog, 8) and '[eta: 0:00:00, ' in line(show, caplog, 10)


def test_a_run_writes_its_speed_to_log_and_tensorboard(tmp_path: Path) -> None:
    for part in ('gt', 'lq'):
        runs.write_images(tmp_path / 'datasets' / part, 6)
    opt = load_options(runs.FIXTURES / 'sr_tiny.yml')
    opt['train']['total_iter'], opt['val'] = 4, None
    opt['logger'].update(use_tb_logger=True, save_checkpoint_freq=4)
    kill_resume.finish(tmp_path, opt)
    lines = [text for text in (tmp_path / 'log.txt').read_text().splitlines() if ', lr:(' in text]
    entries = [parse_line(text) for text in lines]
    assert [entry.iteration for entry in entries] == [1, 2, 3, 4]
    for entry in entries:
        assert list(entry.terms) == ['l_pix', 'images_per_s', 'data_wait']
        assert entry.terms['images_per_s'] > 0 and 0 < entry.terms['data_wait'] < 1
    assert '[eta: 0:00:00, ' in lines[-1] and '-1 day' not in ''.join(lines)
    found = events(tmp_path / 'tb_logger' / opt['name'])
    assert set(found.Tags()['scalars']) == {'losses/l_pix', 'images_per_s', 'data_wait'}
    assert [scalar.step for scalar in found.Scalars('losses/l_pix')] == [1, 2, 3, 4]


# --------------------------------------------------------------------- pictures
@pytest.mark.parametrize('name', ['refstar.yml', 'refsel.yml'])
def test_pictures_of_batches_and_of_validations(name: str, tmp_path: Path) -> None:
    opt = shrink(replace_files(load_options(OPTIONS / 'demo' / name), tmp_path / 'files'))
    opt['logger'].update(use_tb_logger=True, save_checkpoint_freq=2)
    plain = kill_resume.finish(tmp_path / 'plain', opt)
    opt['logger']['image_freq'] = 1
    if opt.get('val'):
        opt['val'].update(val_freq=2, tb_images=1)
    drawn = kill_resume.finish(tmp_path / 'drawn', opt)
    assert kill_resume.differences(plain, drawn, 2) == []  # drawing has no part in the training

    found = events(tmp_path / 'drawn/tb_logger' / opt['name'])
    tags = found.Tags()['images']
    assert [image.step for image in found.Images('training')] == [1, 2]
    assert len(tags) == (2 if opt.get('val') else 1)
    for tag in tags:
        image = found.Images(tag)[-1]
        picture = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[1] >= 4 * picture.shape[0] * 0.8  # panels side by side
        columns = np.split(picture[18:], picture.shape[1] // (picture.shape[0] - 18), 1)
        assert all(column.std() > 1 for column in columns)
    assert not events(tmp_path / 'plain/tb_logger' / opt['name']).Tags()['images']


def test_colours_of_a_flow() -> None:
    x, y = np.meshgrid(*[(np.arange(8) + 0.5) / 4 - 1] * 2)
    still, right = np.stack([x, y]), np.stack([x + 0.2, y])  # a tenth of the side
    used = np.ones((8, 8))
    assert (flow_colours(still, used) == 255).all()
    assert (flow_colours(right, used) == [0, 0, 255]).all()  # to the right: red
    assert (flow_colours(right, used * 0) < 60).all()
    hues = {
        tuple(flow_colours(np.stack([x + a, y + b]), used)[0, 0]) for a, b in itertools.product((-0.2, 0.2), repeat=2)
    }
    assert len(hues) == 4


@pytest.mark.parametrize(
    ('block', 'value', 'message'),
    [
        ({'logger': {'image_freq': 5}}, False, 'logger:image_freq needs logger:use_tb_logger: true'),
        ({'val': {'tb_images': 5}}, False, 'val:tb_images needs'),
        ({'logger': {'image_freq': 0}}, True, 'logger:image_freq: expected a whole number from 1'),
        ({'val': {'tb_images': 'all'}}, True, "val:tb_images: expected a whole number from 1, got 'all'"),
    ],
)
def test_keys_that_cannot_work_are_named(block: dict, value: bool, message: str) -> None:
    opt = {**block, 'logger': {**block.get('logger', {}), 'use_tb_logger': value}}
    with pytest.raises(RefStarError, match=message):
        tensorboard.check(opt)


def test_gpu_memory_is_shown_on_a_gpu(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    show = message_logger()
    show.on_gpu = True
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 3 * 2**29)
    assert parse_line(line(show, caplog, 1)).terms['gpu_gib'] == 1.5
