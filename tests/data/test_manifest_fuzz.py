"""Lists of any content end in entries or in one short RefStarError, never in another exception."""

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refstar.curate.collection import image_lists
from refstar.data.collections.listing import Missing
from refstar.data.collections.manifest import read_manifest
from refstar.utils.errors import RefStarError

FUZZED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Pieces of right lists, of wrong ones, and of what breaks parsers; joined at random, or damaged.
FILES = ['a.png', 'b.png', 'ann/1.png', 'ann', './a.png', 'ann\\1.png', 'é.png', 'a.png.png', '²', '.png', 'a.']
OUTSIDE = ['../a.png', '/etc/passwd', 'C:\\a.png', '..', '.']
WORDS = ['gt_image', 'ref_image', 'lq_image', 'weight', 'nan', 'inf', '-1', '1e999', '#', '\\x']
LITERALS = ["['a.png']", "\"['a.png', 'b.png']\"", '[1]', '{[]}', '[', '{}', '__import__("os")', '1+' * 500 + '1']
MARKS = [',', ',', '\t', '\t', ' ', '\n', '\n', '\r', '\r\n', '"', "'", '(512,512,3)', '(1,', ' 1', '\\']
NASTY = ['\0', '\ufeff', '\u2028', '\x85', '\u202e', '[' * 300, '(' * 200, '9' * 5000, 'x' * 300, '/' * 300, '-' * 2000]
PIECES = st.sampled_from([*FILES, *OUTSIDE, *WORDS, *LITERALS, *MARKS, *NASTY])
TEXTS = st.lists(PIECES, max_size=25).map(''.join)
CSV_ROWS = st.lists(st.tuples(PIECES, PIECES, PIECES, PIECES).map(','.join), max_size=6).map('\n'.join)
META_LINES = st.lists(PIECES.map(lambda piece: f'{piece}.png (64,64,3) 1')).map('\n'.join)


def damaged(texts):
    """The bytes of a text, with some of them replaced, removed or doubled; or any bytes."""
    edits = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 2)), max_size=6)
    return st.one_of(st.tuples(texts, edits).map(_damage), st.binary())


def _damage(pair):
    data = bytearray(pair[0].encode())
    for where, new, drop in pair[1]:
        at = int(where * len(data))
        data[at : at + drop] = new
    return bytes(data)


def reads_or_refuses(read):
    try:
        entries = read()
    except RefStarError as error:
        assert 10 < len(str(error)) < 4000 and '\n' not in str(error)
    else:
        names = [entry.name for entry in entries]
        assert len(set(names)) == len(names)
        for entry in entries:
            assert all(path is None or '..' not in path.parts for path in (entry.gt, entry.lq, *entry.refs))


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    root = tmp_path_factory.mktemp('faces')
    for i, name in enumerate(('a.png', 'b.png', 'ann/1.png', 'ann/2.png', 'ref/a.png', 'ref/b/1.png')):
        (root / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / name), np.full((8, 8, 3), 20 * i, np.uint8))
    return root


@FUZZED
@given(data=damaged(CSV_ROWS.map(lambda rows: 'gt_image,lq_image,ref_image,weight\n' + rows)))
def test_csv(faces, data):
    (faces / 'fuzz.csv').write_bytes(data)
    opt = {'reference_csv': str(faces / 'fuzz.csv'), 'dataroot_gt': str(faces), 'dataroot_lq': str(faces)}
    reads_or_refuses(lambda: read_manifest(opt))
    reads_or_refuses(lambda: read_manifest({**opt, 'missing': 'drop'}))


@FUZZED
@given(data=damaged(TEXTS))
def test_split_file(faces, data):
    (faces / 'fuzz.txt').write_bytes(data)
    reads_or_refuses(lambda: read_manifest({'dataroot': str(faces), 'split_file': str(faces / 'fuzz.txt')}))


@FUZZED
@given(data=damaged(META_LINES))
def test_meta_info(faces, data):
    file = faces / 'fuzz.txt'
    file.write_bytes(data)
    reads_or_refuses(lambda: read_manifest({'dataroot': str(faces), 'meta_info_file': str(file), 'missing': 'drop'}))
    roots = {'dataroot_gt': str(faces), 'dataroot_ref': str(faces / 'ref')}
    reads_or_refuses(lambda: read_manifest({**roots, 'meta_info_file_ref': str(file)}))
    reads_or_refuses(lambda: image_lists(str(file), {'dataroot_gt': str(faces)})[0].read(Missing('drop')))
