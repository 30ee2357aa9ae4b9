"""`refstar data`: every problem of a collection is found and counted, nobody is in two splits."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.photos import check, collection, face, pack, write
from PIL import Image, ImageEnhance

from refstar.curate.collection_check import near_duplicates
from refstar.tools.data import main
from refstar.utils.errors import RefStarError
from refstar.utils.parallel import parallel


def test_a_good_collection(tmp_path, capsys):
    code, found = check(collection(tmp_path / 'faces', {'ann': 3, 'bob': 2}), json_to=tmp_path / 'out/o.json')
    (part,) = found['parts']
    assert code == 0 and part['problems'] == {}
    assert (part['identities'], part['images'], part['sizes']) == (2, 5, [64, 64])
    assert 'identities' in capsys.readouterr().out


def test_every_problem_is_listed(tmp_path, capsys):
    root = collection(tmp_path / 'faces', {'ann': 3, 'bob': 2})
    write(root / 'cid/0.png', face(900, 32))
    write(root / 'cid/1.png', face(901)[:50])
    (root / 'cid/2.png').write_bytes((root / 'ann/0.png').read_bytes()[:200])
    Image.fromarray(face(902)[..., 0].astype(np.int32)).save(root / 'cid/3.tif')
    (root / 'dan').mkdir()
    bright = ImageEnhance.Brightness(Image.open(root / 'ann/1.png')).enhance(1.1).resize((56, 56))
    bright.save(root / 'bob/7.jpg', quality=80)
    Image.open(root / 'ann/2.png').save(root / 'ann/8.jpg', quality=80)
    code, found = check(root, '--min_size', '50', json_to=tmp_path / 'o.json')
    problems = found['parts'][0]['problems']
    counts = {'missing': 1, 'corrupt': 2, 'too small': 1, 'not square': 1, 'duplicate': 2}
    assert code == 1 and {kind: len(what) for kind, what in problems.items()} == counts
    assert 'dan' in problems['missing'][0] and '0.png: 32x32' in problems['too small'][0]
    assert {'one person', 'DIFFERENT people'} == {text.split('(')[1].strip(')') for text in problems['duplicate']}
    out = capsys.readouterr().out
    assert 'cid/2.png: is not a readable image' in out and 'cid/3.tif' in out and '7.jpg (DIFFERENT people)' in out
    _, found = check(root, '--duplicates', 'off', json_to=tmp_path / 'o.json')
    assert found['parts'][0]['problems'].keys() == {'missing', 'corrupt', 'not square'}


def test_nobody_may_be_in_two_splits(tmp_path, capsys):
    root = collection(tmp_path / 'faces', {'ann': 2, 'bob': 2, 'cid': 2})
    for name, people in {'train': 'ann\nbob\n', 'test': 'cid\nbob\n'}.items():
        (tmp_path / f'{name}.txt').write_text(people)
    lists = [tmp_path / 'train.txt', tmp_path / 'test.txt']
    code, found = check(root, '--splits', *lists, json_to=tmp_path / 'o.json')
    (leak,) = found['leaks']
    assert code == 2 and (leak['who'], leak['how'], set(leak['splits'])) == ('bob', 'same identity', {'train', 'test'})
    printed = capsys.readouterr()
    assert 'bob (same identity): train: ' in printed.out
    assert printed.err.startswith('error: 1 people are in more than one of the splits test, train')
    lists[1].write_text('cid\n')
    assert check(root, '--splits', *lists)[0] == 0
    Image.open(root / 'ann/0.png').save(root / 'cid/9.jpg', quality=70)  # the same photo under another name
    code, found = check(root, '--splits', *lists, json_to=tmp_path / 'o.json')
    assert code == 2 and [(leak['who'], leak['how']) for leak in found['leaks']] == [('ann', 'same photo')]
    assert check(root, '--splits', *lists, '--duplicates', 'off')[0] == 0


def test_a_file_in_two_csv_is_a_leak(tmp_path):
    for i in range(4):
        write(tmp_path / f'gt/{i}.png', face(i))
    tables = [tmp_path / 'train.csv', tmp_path / 'test.csv']
    for table, ref in zip(tables, (1, 3), strict=True):
        table.write_text(f'gt_image,ref_image\n{ref - 1}.png,"[\'{ref}.png\']"\n')
    assert check(*tables, '--gt', tmp_path / 'gt')[0] == 0
    tables[1].write_text("gt_image,ref_image\n2.png,\"['3.png', '1.png']\"\n")
    code, found = check(*tables, '--gt', tmp_path / 'gt', json_to=tmp_path / 'o.json')
    assert code == 2 and [leak['how'] for leak in found['leaks']] == ['same file']


def test_every_form_can_be_checked(tmp_path, monkeypatch):
    """Photos of unknown people, lmdb, stems, csv, meta_info, option file."""
    monkeypatch.chdir(tmp_path)
    collection(tmp_path / 'people', {'ann': 2, 'bob': 2})
    for i, name in enumerate(('gt/a.png', 'gt/b.png', 'ref/a/1.png', 'ref/b.png')):
        write(tmp_path / name, face(500 + i))
    pack(Path('people'))
    (tmp_path / 'a.csv').write_text('gt_image,ref_image\na.png,"[\'b.png\']"\n')
    (tmp_path / 'meta.txt').write_text('ann/0.png (64,64,3)\nbob/0.png (64,64,3)\n')
    (tmp_path / 'x.yml').write_text(
        'datasets: {train: {type: ReferencePairDataset, dataroot: people}, val: {type: SyntheticFaceDataset}, '
        'test_1: {type: ReferenceTestDataset, dataroot_gt: gt, dataroot_ref: ref}}\n'
    )
    counts = {
        ('gt',): (0, 2),
        ('people',): (2, 4),
        ('people.lmdb',): (2, 4),
        ('gt', '--ref', 'ref'): (2, 4),
        ('a.csv', '--gt', 'gt'): (1, 2),
        ('meta.txt', '--gt', 'people'): (2, 2),
    }
    for args, expected in counts.items():
        code, found = check(*args, json_to=tmp_path / 'o.json')
        (part,) = found['parts']
        assert code == 0 and (part['identities'], part['images']) == expected, args
    code, found = check('x.yml', json_to=tmp_path / 'o.json')
    assert code == 0 and [part['split'] for part in found['parts']] == ['train', 'test']


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    collection(tmp_path / 'mixed', {'ann': 1})
    write(tmp_path / 'mixed/0.png', face(0))
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'a.csv').write_text('gt_image,ref_image\n../a.png,"[\'b.png\']"\n')
    (tmp_path / 'cut.lmdb').mkdir()
    (tmp_path / 'cut.lmdb/data.mdb').write_bytes(b'x' * 10000)
    (tmp_path / 'cut.lmdb/meta_info.txt').write_text('a.png (64,64,3) 1\n')
    for args, message in (
        ('check none', 'none: there is no such folder or file'),
        ('check mixed', 'holds photos beside folders'),
        ('check empty', 'no image was found'),
        ('check a.csv', 'a.csv: needs --gt'),
        ('check a.csv --gt mixed', "a.csv:2: '../a.png' must be a file name inside mixed"),
        ('check cut.lmdb', 'cut.lmdb: is no whole lmdb'),
        ('check mixed --duplicates 99', 'must be 0 to 31'),
        ('check x.yml --gt mixed', 'x.yml: names its own folders'),
        ('check mixed --jobs 0', '--jobs: must be a whole number'),
        ('split mixed/ann --out out', 'give --network and --weights'),
        ('split mixed/ann --out out --network mobilefacenet --weights none.pth', 'none.pth: no such file'),
        ('split a.csv --out out --fractions 1 1 1', 'with the sum 1'),
        ('split empty --out out', '0 people cannot be divided'),
    ):
        assert main(args.split()) == 2 and message in capsys.readouterr().err, args
    assert not (tmp_path / 'out').exists()


def test_a_dead_process_is_reported():
    with pytest.raises(RefStarError, match='photos: a process died'):
        list(parallel(os._exit, [1], 1, 'photos'))


def test_near_duplicates_are_all_found():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (4000, 256), np.uint8)
    flipped = rng.integers(0, 12, 200)
    for i, count in enumerate(flipped):
        bits[2 * i + 1] = bits[2 * i]
        bits[2 * i + 1, rng.choice(256, count, replace=False)] ^= 1
    expected = [[2 * i, 2 * i + 1] for i in range(200) if flipped[i] <= 10]
    assert near_duplicates([row.tobytes() for row in np.packbits(bits, axis=1)], 10) == expected
    assert near_duplicates([b'\0' * 32] * 3 + [b'\xff' * 32], 0) == [[0, 1, 2]]
    assert near_duplicates([], 4) == near_duplicates([b'\0' * 32], 4) == []
