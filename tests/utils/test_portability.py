"""The package works where POSIX modules and flags are absent, as on Windows."""

import subprocess
import sys
from pathlib import Path

from helpers.import_graph import module_names

PROGRAM = """
import importlib, os, sys

import refstar
import basicsr, cv2, facexlib, filelock, gfpgan, lmdb, matplotlib, torch, torchvision  # others come first

for name in ('fcntl', 'resource', 'termios', 'pwd', 'grp'):
    sys.modules[name] = None  # an import of it fails
del os.O_DIRECTORY

for module in sys.argv[1:]:
    importlib.import_module(module)

from refstar.utils.checkpoint import load_file, save_atomically
from refstar.utils.text_files import read_text, write_text

save_atomically({'params': {'a': torch.ones(2)}}, 'net.pth')
assert load_file('net.pth')['params']['a'].tolist() == [1, 1]
write_text('a.txt', 'Zoë')
assert read_text('a.txt') == 'Zoë'
assert sorted(os.listdir()) == ['a.txt', 'net.pth']
"""


def test_every_module_imports_and_files_are_saved_without_posix(tmp_path: Path) -> None:
    command = [sys.executable, '-X', 'utf8', '-c', PROGRAM, *module_names()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
