"""Lists of any content end in entries or in one short RefStarError, never in another exception: 800 fuzzed inputs."""

import shutil

import cv2
import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refstar.curate.collection import image_lists
from refstar.data.collections import lmdb_images
from refstar.data.collections.listing import Missing, Tree
from refstar.data.collections.manifest import read_entries, read_manifest
from refstar.data.images import decode
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
CSV_ROWS = st.lists(st.tuples(PIECES, PIECES, PIECES, PIECES), max_size=6)


def damaged(text):
    """The bytes of a text, with some of them replaced, removed or doubled."""
    edits = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 2)), max_size=6)
    return st.tuples(text, edits).map(_damage)


def _damage(pair):
    data = bytearray(pair[0].encode('utf-8', 'surrogatepass'))
    for where, new, drop in pair[1]:
        at = int(where * len(data))
        data[at : at + drop] = new
    return bytes(data)


def as_csv(rows):
    lines = [','.join(row) for row in rows]
    return '\n'.join(['gt_image,lq_image,ref_image,weight', *lines])


CSV = st.one_of(damaged(CSV_ROWS.map(as_csv)), damaged(TEXTS.map(lambda t: 'gt_image,ref_image\n' + t)), st.binary())
LISTS = st.one_of(damaged(TEXTS), st.binary())
META_LINES = st.lists(PIECES.map(lambda piece: f'{piece}.png (64,64,3) 1')).map('\n'.join)
META = st.one_of(damaged(META_LINES), damaged(TEXTS), st.binary())


def reads_or_refuses(opt):
    """Reads a manifest in all ways; what is refused must be refused in words."""
    for read in (
        lambda: read_manifest(opt),
        lambda: read_manifest({**opt, 'missing': 'drop'}),
        lambda: read_entries(opt, Missing('drop')),
    ):
        try:
            entries = read()
        except RefStarError as error:
            assert 10 < len(str(error)) < 4000 and '\n' not in str(error)
        else:
            names = [entry.name for entry in entries]
            assert len(set(names)) == len(names)
            for entry in entries:
                for path in (entry.gt, entry.lq, *entry.refs):
                    assert path is None or '..' not in path.parts


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    root = tmp_path_factory.mktemp('faces')
    for i, name in enumerate(('a.png', 'b.png', 'ann/1.png', 'ann/2.png', 'ref/a.png', 'ref/b/1.png')):
        (root / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / name), np.full((8, 8, 3), 20 * i, np.uint8))
    return root


@FUZZED
@given(data=CSV)
def test_csv(faces, data):
    (faces / 'fuzz.csv').write_bytes(data)
    reads_or_refuses({'reference_csv': str(faces / 'fuzz.csv'), 'dataroot_gt': str(faces), 'dataroot_lq': str(faces)})


@FUZZED
@given(data=LISTS)
def test_split_file(faces, data):
    (faces / 'fuzz.txt').write_bytes(data)
    reads_or_refuses({'dataroot': str(faces), 'split_file': str(faces / 'fuzz.txt')})


@FUZZED
@given(data=META)
def test_meta_info(faces, data):
    (faces / 'fuzz.txt').write_bytes(data)
    reads_or_refuses({'dataroot': str(faces), 'meta_info_file': str(faces / 'fuzz.txt')})
    roots = {'dataroot_gt': str(faces), 'dataroot_ref': str(faces / 'ref')}
    reads_or_refuses({**roots, 'meta_info_file_ref': str(faces / 'fuzz.txt')})
    try:
        (part,) = image_lists(str(faces / 'fuzz.txt'), {'dataroot_gt': str(faces)})  # guesses what kind of list it is
        part.read(Missing('drop'))
    except RefStarError as error:
        assert 10 < len(str(error)) < 4000


@pytest.fixture(scope='module')
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp('database') / 'a.lmdb'
    with lmdb.open(str(path), map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
        for key in ('a', 'ann/1', 'ann/2', '²', 'x' * 300):
            transaction.put(key.encode(), cv2.imencode('.png', np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    return path


@FUZZED
@given(data=META)
def test_meta_info_of_an_lmdb(database, data):
    """Images that it names and the lmdb has not are an error when they are read."""
    (database / 'meta_info.txt').write_bytes(data)
    lmdb_images._open.cache_clear()
    reads_or_refuses({'dataroot': str(database)})
    try:
        for image in Tree(database).all_images():
            decode(image, 'RGB')
    except RefStarError as error:
        assert str(database) in str(error)


@settings(FUZZED, max_examples=60)
@given(cut=st.floats(0, 0.999), junk=st.binary(max_size=64))
def test_lmdb_cut_anywhere(database, tmp_path_factory, cut, junk):
    whole = (database / 'data.mdb').read_bytes()
    path = tmp_path_factory.mktemp('cut') / 'b.lmdb'
    path.mkdir()
    (path / 'data.mdb').write_bytes((whole[: int(cut * len(whole))] + junk)[: len(whole) - 1])
    (path / 'meta_info.txt').write_text('a.png (8,8,3) 1\n')
    with pytest.raises(RefStarError, match='is no whole lmdb'):
        read_manifest({'dataroot': str(path)})
    shutil.rmtree(path)
