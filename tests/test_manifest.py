"""Who is whose reference: folders, csv, stems; every wrong list is refused by name."""

import logging

import cv2
import numpy as np
import pytest

from refstar.data.images import ImageStore
from refstar.data.manifest import photos_by_identity, read_manifest
from refstar.errors import RefStarError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')


def write_csv(path, *rows, header='gt_image,lq_image,ref_image'):
    path.write_text('\n'.join([header, *rows]) + '\n')
    return str(path)


def test_identity_folders(tmp_path):
    touch(tmp_path, 'ann/2.png', 'ann/10.png', 'bob/1.jpg', 'bob/notes.txt', 'cid/1.png')
    entries = read_manifest({'dataroot': str(tmp_path)})
    assert [e.name for e in entries] == ['ann_2', 'ann_10', 'bob_1', 'cid_1']
    assert entries[0].refs == (tmp_path / 'ann/10.png',) and entries[2].refs == ()
    split = tmp_path / 'split.txt'
    split.write_text('bob\n\nann\n')
    entries = read_manifest({'dataroot': str(tmp_path), 'split_file': str(split)})
    assert [e.identity for e in entries] == ['bob', 'ann', 'ann']
    assert photos_by_identity(entries)['ann'] == [tmp_path / 'ann/2.png', tmp_path / 'ann/10.png']


def test_max_images_is_spread_over_the_list(tmp_path):
    touch(tmp_path, *(f'p{i}/1.png' for i in range(10)))
    entries = read_manifest({'dataroot': str(tmp_path), 'max_images': 3})
    assert [e.identity for e in entries] == ['p0', 'p3', 'p6']


def test_csv(tmp_path):
    touch(tmp_path, *(f'{i}.png' for i in range(6)))
    rows = ["0.png,0.png,\"['1.png', '2.png']\"", '1.png,1.png,"[\'2.png\']"', '3.png,3.png,"[\'4.png\']"']
    opt = {'reference_csv': write_csv(tmp_path / 'a.csv', *rows), 'dataroot_gt': str(tmp_path)}
    entries = read_manifest(opt)
    assert [p.name for p in entries[0].refs] == ['1.png', '2.png'] and entries[0].lq is None
    assert entries[0].identity == entries[1].identity != entries[2].identity
    assert read_manifest({**opt, 'dataroot_lq': str(tmp_path)})[1].lq == tmp_path / '1.png'


def test_csv_without_lq_column_and_with_weights(tmp_path):
    touch(tmp_path, '0.png', '1.png')
    path = write_csv(tmp_path / 'a.csv', '0.png,"[\'1.png\']",2.5', header='gt_image,ref_image,weight')
    (entry,) = read_manifest({'reference_csv': path, 'dataroot_gt': str(tmp_path), 'dataroot_lq': str(tmp_path)})
    assert entry.weight == 2.5 and entry.lq == tmp_path / '0.png'


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ('0.png,0.png,1.png', r'a\.csv:2.*list of file names'),
        ('0.png,0.png,"[\'1.png\'"', r'a\.csv:2.*list of file names'),
        ('0.png,0.png,"__import__(\'os\').getcwd()"', 'list of file names'),
        ('0.png,0.png,[]', 'list of file names'),
        ('0.png,0.png,[1]', 'list of file names'),
        ('0.png,0.png,"[\'../1.png\']"', r"a\.csv:2.*'\.\./1\.png'"),
        ('/etc/passwd,0.png,"[\'1.png\']"', 'inside'),
        ('0.png,0.png', 'expected 3 fields'),
        ("0.png,0.png,\"['1.png', 'nobody.png']\"", r'1 missing: .*nobody\.png.*missing: drop'),
        ('gone.png,0.png,"[\'1.png\']"', r'1 missing: .*gone\.png'),
    ],
)
def test_csv_errors_name_the_line(tmp_path, row, message):
    touch(tmp_path, '0.png', '1.png')
    with pytest.raises(RefStarError, match=message):
        read_manifest({'reference_csv': write_csv(tmp_path / 'a.csv', row), 'dataroot_gt': str(tmp_path)})


def test_csv_needs_its_columns(tmp_path):
    path = write_csv(tmp_path / 'a.csv', 'a,b', header='gt,refs')
    with pytest.raises(RefStarError, match='no column gt_image, ref_image; it has gt, refs'):
        read_manifest({'reference_csv': path, 'dataroot_gt': str(tmp_path)})
    with pytest.raises(RefStarError, match='cannot be read'):
        read_manifest({'reference_csv': str(tmp_path / 'none.csv'), 'dataroot_gt': str(tmp_path)})


def test_missing_files_can_be_dropped(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    touch(tmp_path, '0.png', '1.png')
    rows = ["0.png,0.png,\"['1.png', '8.png']\"", '9.png,9.png,"[\'1.png\']"']
    opt = {'reference_csv': write_csv(tmp_path / 'a.csv', *rows), 'dataroot_gt': str(tmp_path), 'missing': 'drop'}
    with caplog.at_level('WARNING', logger='basicsr'):
        (entry,) = read_manifest(opt)
    assert [p.name for p in entry.refs] == ['1.png']
    assert '2 missing' in caplog.text


def test_file_stems(tmp_path):
    touch(tmp_path, 'lq/a.png', 'lq/b.jpg', 'ref/a.jpg', 'ref/b/1.png', 'ref/b/2.png', 'gt/a.png', 'gt/b.png')
    opt = {'dataroot_lq': str(tmp_path / 'lq'), 'dataroot_ref': str(tmp_path / 'ref')}
    a, b = read_manifest(opt)
    assert a.refs == (tmp_path / 'ref/a.jpg',) and a.gt is None
    assert [p.name for p in b.refs] == ['1.png', '2.png']
    assert read_manifest({**opt, 'dataroot_gt': str(tmp_path / 'gt')})[1].gt == tmp_path / 'gt/b.png'
    touch(tmp_path, 'lq/c.png')
    with pytest.raises(RefStarError, match=r'1 missing: .*ref/c'):
        read_manifest(opt)
    assert len(read_manifest({**opt, 'missing': 'drop'})) == 2


@pytest.mark.parametrize(
    ('opt', 'message'),
    [
        ({}, 'give dataroot'),
        ({'dataroot': 'no/such/folder'}, 'no/such/folder'),
        ({'dataroot': '.', 'missing': 'ignore'}, 'error or drop'),
        ({'dataroot': '.', 'split_file': 'no_split.txt'}, 'no_split.txt'),
    ],
)
def test_wrong_options(tmp_path, monkeypatch, opt, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefStarError, match=message):
        read_manifest(opt)


def test_split_file_cannot_leave_the_root(tmp_path):
    (tmp_path / 'faces').mkdir()
    touch(tmp_path, 'other/1.png')
    (tmp_path / 'split.txt').write_text('../other\n')
    with pytest.raises(RefStarError, match='inside'):
        read_manifest({'dataroot': str(tmp_path / 'faces'), 'split_file': str(tmp_path / 'split.txt')})


def test_unknown_people_and_empty_folders_are_counted(tmp_path):
    touch(tmp_path, 'ann/1.png')
    (tmp_path / 'bob').mkdir()
    with pytest.raises(RefStarError, match=r'1 missing: .*bob'):
        read_manifest({'dataroot': str(tmp_path)})
    (tmp_path / 'empty').mkdir()
    with pytest.raises(RefStarError, match='no image'):
        read_manifest({'dataroot': str(tmp_path / 'empty')})


def test_images_are_checked_by_name(tmp_path):
    good, wide, broken, half = (tmp_path / name for name in ('good.png', 'wide.png', 'broken.png', 'half.jpg'))
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 2] = 255  # red, as OpenCV writes BGR
    cv2.imwrite(str(good), picture)
    cv2.imwrite(str(wide), picture[:8])
    broken.write_bytes(good.read_bytes()[:40])
    _, code = cv2.imencode('.jpg', np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8))
    half.write_bytes(code.tobytes()[: code.size // 2 + 200])
    assert ImageStore(16)(good)[0, 0].tolist() == [1, 0, 0]
    assert ImageStore(8, resize=True)(good).shape == (8, 8, 3)
    for store, path, message in [
        (ImageStore(32), good, r'good\.png: is 16x16, expected 32x32; set resize'),
        (ImageStore(16), wide, r'wide\.png: 16x8 is not square'),
        (ImageStore(16), broken, r'broken\.png: is not a readable image'),
        (ImageStore(16), half, r'half\.jpg: is not a readable image'),
        (ImageStore(16), tmp_path / 'none.png', r'none\.png: there is no such file'),
    ]:
        with pytest.raises(RefStarError, match=message):
            store(path)
    with pytest.raises(RefStarError, match='broken'):
        ImageStore(16, preload=[good, broken])
