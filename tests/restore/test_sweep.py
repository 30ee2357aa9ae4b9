"""Files of all sorts through `refstar restore`: each is restored, or named with a reason.

A few in the test suite; all by `make sweep` (500, or as many as $REFSTAR_SWEEP says).
"""

import json
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from helpers import runs
from helpers.restoring import network_file, restore
from helpers.sweep import EXAMPLE, samples
from PIL import Image

COUNT, CHUNK = int(os.environ.get('REFSTAR_SWEEP', '24')), 24


def said_by(*args: object) -> tuple[int, str]:
    """Run the command with strict UTF-8 output, as a terminal has it; exit code and all text."""
    with redirect_stdout(TextIOWrapper(BytesIO(), 'utf-8')) as out, redirect_stderr(out):
        code = restore(*args)
    out.flush()
    return code, out.buffer.getvalue().decode()


def ascii_part(path: Path) -> str:
    """The part of a name that every terminal shows: the number that tells samples apart, and the suffix."""
    return re.search(r'\d+\.\w+$', path.name)[0]


@pytest.mark.parametrize('start', range(0, COUNT, CHUNK))
def test_every_file_is_restored_or_named(start, tmp_path):
    net, inputs = network_file(tmp_path), tmp_path / 'in'
    made = list(samples(inputs, range(start, min(COUNT, start + CHUNK))))
    before = runs.files_under(tmp_path)
    folders = sorted({sample.path.parent for sample in made if sample.path.parent.name != 'files'})
    files = [sample.path for sample in made if sample.path.parent.name == 'files']
    flags = ['-r', EXAMPLE / 'references', '-o', tmp_path / 'out', '-n', net, '--detector', 'yunet']
    code, text = said_by('-i', *folders, *files, *flags, '--report')
    good = [sample for sample in made if sample.size]
    assert code == int(len(good) < len(made)), text
    assert 'Traceback' not in text
    counts = re.search(r': (\d+) restored \(.*\), (\d+) failed', text)
    assert counts and (int(counts[1]), int(counts[2])) == (len(good), len(made) - len(good)), text
    records = [json.loads(path.read_text(errors='surrogateescape')) for path in (tmp_path / 'out').glob('*.json')]
    outputs = {ascii_part(Path(record['input'])): record['output'] for record in records}
    for sample in made:
        name = ascii_part(sample.path)
        if sample.size is None:
            assert name not in outputs and any('error: ' in line and name in line for line in text.splitlines()), name
            continue
        found = [path for path in (tmp_path / 'out').iterdir() if path.name == outputs[name]]
        with Image.open(found[0]) as result:
            assert result.size == sample.size, name
    assert {path: data for path, data in runs.files_under(tmp_path).items() if path in before} == before
    assert {path.name for path in tmp_path.iterdir()} == {'net0.safetensors', 'in', 'out'}


@pytest.mark.parametrize('start', range(0, COUNT, CHUNK))
def test_every_reference_is_used_or_named(start, tmp_path):
    net, refs = network_file(tmp_path), tmp_path / 'in'
    made = list(samples(refs, range(start, min(COUNT, start + CHUNK))))
    folders = sorted({sample.path.parent for sample in made})
    flags = ['-o', tmp_path / 'out', '-n', net, '--detector', 'yunet']
    code, text = said_by('-i', EXAMPLE / 'photo.jpg', '-r', *folders, *flags)
    assert code == 0 and 'Traceback' not in text, text
    used = sum(map(int, re.findall(r': (\d+) good photo', text)))
    named = set()
    for line in re.findall('left out: .*', text):
        names = re.findall(r'(\d+\.\w+): ', line)
        named |= set(names if 'no usable photo' in line else names[:1])
    unnamed = [sample for sample in made if ascii_part(sample.path) not in named]
    assert used == len(unnamed) and all(sample.size for sample in unnamed), text
