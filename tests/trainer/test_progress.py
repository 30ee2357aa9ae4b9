"""The line of a training: remaining time, speed, waiting for data."""

import logging
import time
from typing import Any

import pytest
import torch

from refstar.trainer import progress
from refstar.utils.training_log import parse_line


def message_logger(start_iter: int = 0, processes: int = 2, gpus: int = 0) -> progress.MessageLogger:
    logging.getLogger('basicsr').setLevel(logging.INFO)
    opt = {
        'name': 'a_run',
        'logger': {'print_freq': 1},
        'train': {'total_iter': 10},
        'datasets': {'train': {'batch_size_per_gpu': 3}},
        'dist': processes > 1,
        'world_size': processes,
        'num_gpu': gpus,
    }
    return progress.MessageLogger(opt, start_iter)


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
    show = message_logger()
    now[0] += 60  # iteration 1 compiles
    show.reset_start_time()
    assert '[eta: 0:00:18, time (data): 2.000 (0.500)] l_pix: 2.5000e-01 ' in line(show, caplog, 1)
    with show.counts('waited'):
        now[0] += 2
    with show.counts('paused'):
        now[0] += 4  # a validation
    now[0] += 6
    text = line(show, caplog, 5)
    assert text.startswith('[a_run..][epoch:  0, iter:       5, lr:(1.000e-03,)] [eta: 0:00:15, ')
    terms = parse_line(text).terms
    assert terms == {'l_pix': 0.25, 'images_per_s': 3 * 2 * 4 / 8, 'data_wait': 2 / 8}
    now[0] += 1
    text = line(show, caplog, 10)
    assert parse_line(text).terms['images_per_s'] == 30 and '[eta: 0:00:00, ' in text


def test_a_resumed_run_counts_its_own_iterations(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    monkeypatch.setattr(time, 'time', lambda: now[0])
    show = message_logger(start_iter=6)
    now[0] += 6
    assert '[eta: 0:00:06, ' in line(show, caplog, 8) and '[eta: 0:00:00, ' in line(show, caplog, 10)


def test_gpu_memory_is_shown_on_a_gpu(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    show = message_logger()
    show.on_gpu = True
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 3 * 2**29)
    assert parse_line(line(show, caplog, 1)).terms['gpu_gib'] == 1.5
