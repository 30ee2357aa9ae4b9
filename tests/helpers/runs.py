"""Helpers of the tests that run the commands as a user does: in subprocesses, in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import yaml

FIXTURES = Path(__file__).parents[1] / 'fixtures'
ENVIRONMENT = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}


def python(*args: object, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess:
    """Runs `python args` in `cwd` without a GPU and returns what it printed."""
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout)


def train(*args: object, cwd: Path) -> subprocess.CompletedProcess:
    return python('-m', 'refstar.tools.train', *args, cwd=cwd)


def succeeded(done: subprocess.CompletedProcess) -> str:
    """Returns the output of a command that must have ended well."""
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def user_error(done: subprocess.CompletedProcess) -> str:
    """Returns the message of a command that must have ended with one clear line and exit code 2."""
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-4000:]
    assert 'Traceback' not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1, done.stderr
    return lines[0]


def write_images(folder: Path, count: int, size: int = 32) -> None:
    """Writes `count` smooth random colour images `000.png ...`."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(count):
        image = generator.integers(0, 255, (4, 4, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f'{i:03d}.png'), cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC))


def write_options(path: Path, options: dict) -> Path:
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


def files_under(folder: Path) -> dict[str, bytes]:
    """Contents of all files under a folder by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}
