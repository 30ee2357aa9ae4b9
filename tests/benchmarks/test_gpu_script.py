"""The script that measures a GPU, at toy size on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'benchmarks/gpu.sh'


def run(*args: object, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', **environment}
    return subprocess.run([SCRIPT, *map(str, args)], env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_toy_run_has_every_figure(tmp_path: Path) -> None:
    done = run('--toy', tmp_path / 'gpu.json')
    found = json.loads((tmp_path / 'gpu.json').read_text())
    assert done.returncode == 0, found
    assert found['device'] == 'CPU, 1 threads' and found['date'][:2] == '20'
    assert found['training']['arms']['refstar']['speedup']['median'] > 0
    assert set(found['references']['ratio']) == {'references', 'bank', 'frame'}
    assert found['memory']['ratio']['guidance'] > 0


def test_a_program_that_fails_is_named(tmp_path: Path) -> None:
    python = tmp_path / 'python'  # runs what joins the figures, and no benchmark
    python.write_text(f'#!/bin/sh\n[ "$1" = - ] && exec "{sys.executable}" "$@"\necho broken\nexit 3\n')
    python.chmod(0o755)
    done = run('--toy', tmp_path / 'gpu.json', PYTHON=str(python))
    assert done.returncode == 1 and 'failed: memory, references, training' in done.stdout
    assert 'broken' in json.loads((tmp_path / 'gpu.json').read_text())['memory']['failed']


def test_without_a_file_it_says_how_to_call_it() -> None:
    done = run('--toy')
    assert done.returncode == 2 and 'benchmarks/gpu.sh gpu.json' in done.stderr
