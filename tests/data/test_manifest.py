"""Who is whose reference: folders, csv, stems, lists; every wrong list is refused by name."""

import pytest
from helpers.photos import write_csv

from refstar.data.collections.manifest import photos_by_identity, read_manifest
from refstar.utils.errors import RefStarError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')


def test_identity_folders(tmp_path):
    touch(tmp_path, 'ann/2.png', 'ann/10.png', 'bob/1.jpg', 'bob/notes.txt', 'cid/1.png')
    touch(tmp_path, 'ann/._2.png', '.git/1.png', '@eaDir/ann/2.png', '__MACOSX/1.png')  # no photos, no people
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
    (tmp_path / 'val_image.txt').write_text('1.png\n')
    assert [e.name for e in read_manifest({**opt, 'split_file': str(tmp_path / 'val_image.txt')})] == ['1']
    opt['reference_csv'] = write_csv(tmp_path / 'b.csv', '0.png,"[\'1.png\']",2.5', header='gt_image,ref_image,weight')
    (entry,) = read_manifest({**opt, 'dataroot_lq': str(tmp_path)})
    assert entry.weight == 2.5 and entry.lq == tmp_path / '0.png'


HEADER = 'gt_image,ref_image\n'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (HEADER + '0.png,1.png', r'a\.csv:2.*list of file names'),
        (HEADER + '0.png,"__import__(\'os\').getcwd()"', 'list of file names'),
        (HEADER + '0.png,"[\'../1.png\']"', r"a\.csv:2.*'\.\./1\.png'"),
        (HEADER + '/etc/passwd,"[\'1.png\']"', 'inside'),
        (HEADER + '0.png', 'expected 2 fields'),
        (HEADER + "0.png,\"['1.png', 'nobody.png']\"", r'1 missing: .*nobody\.png.*missing: drop'),
        (HEADER + '0.png,"[\'' + 'x' * 200_000 + '\']"', r'a\.csv: is no csv \(field larger'),
        (HEADER + '\x00.png,"[\'1.png\']"', 'must be a file name|no csv'),
        ('gt_image,ref_image,weight\n0.png,"[\'1.png\']",nan', r'a\.csv:2: weight must be'),
        ('gt_image,ref_image,gt_image\n', 'names a column twice'),
        ('gt,refs\na,b', 'no column gt_image, ref_image; it has gt, refs'),
    ],
)
def test_a_wrong_csv_is_named_with_its_line(tmp_path, text, message):
    touch(tmp_path, '0.png', '1.png')
    (tmp_path / 'a.csv').write_text(text)
    with pytest.raises(RefStarError, match=message) as caught:
        read_manifest({'reference_csv': str(tmp_path / 'a.csv'), 'dataroot_gt': str(tmp_path)})
    assert len(str(caught.value)) < 1000


def test_missing_files_can_be_dropped(tmp_path, caplog):
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


def test_people_without_photos_are_counted(tmp_path):
    touch(tmp_path, 'ann/1.png')
    (tmp_path / 'bob').mkdir()
    with pytest.raises(RefStarError, match=r'1 missing: .*bob'):
        read_manifest({'dataroot': str(tmp_path)})
    (tmp_path / 'empty').mkdir()
    with pytest.raises(RefStarError, match='no image'):
        read_manifest({'dataroot': str(tmp_path / 'empty')})


def test_doubles_and_self_references_are_refused_or_counted(tmp_path, caplog):
    touch(tmp_path, '0.png', '1.png', '2.png')
    rows = ["0.png,0.png,\"['1.png', '1.png']\"", '0.png,0.png,"[\'2.png\']"', '1.png,1.png,"[\'1.png\']"']
    opt = {'reference_csv': write_csv(tmp_path / 'a.csv', *rows), 'dataroot_gt': str(tmp_path)}
    with pytest.raises(RefStarError, match=r'2 listed twice: .*a\.csv:2, 0\.png at .*a\.csv:3; 1 its own .*a\.csv:4'):
        read_manifest(opt)
    with caplog.at_level('WARNING', logger='basicsr'):
        (entry,) = read_manifest({**opt, 'missing': 'drop'})
    assert entry.refs == (tmp_path / '1.png',) and '2 images that need them' in caplog.text
    touch(tmp_path, 'faces/ann/1.png', 'faces/ann/1.jpg')
    with pytest.raises(RefStarError, match=r'1 listed twice or of one name with another: .*1\.png \(as ann_1\)'):
        read_manifest({'dataroot': str(tmp_path / 'faces')})


def test_meta_info_lists_the_images_to_use(tmp_path):
    touch(tmp_path, 'ann/1.png', 'ann/2.png', 'ann/3.png', 'bob/1.png', 'gt/x.png', 'gt/y.png', 'ref/x/1.png')
    (tmp_path / 'meta.txt').write_text('ann/3.png (512,512,3)\nann/1.png (512,512,3) 1\n')
    entries = read_manifest({'dataroot': str(tmp_path), 'meta_info_file': str(tmp_path / 'meta.txt')})
    assert [e.name for e in entries] == ['ann_3', 'ann_1'] and entries[0].refs == (tmp_path / 'ann/1.png',)
    (tmp_path / 'gt.txt').write_text('x.png (512,512,3)\n')
    (tmp_path / 'ref.txt').write_text('x/1.png (512, 512, 3)\nx/2.png (512,512)\n')
    opt = {'dataroot_gt': str(tmp_path / 'gt'), 'dataroot_ref': str(tmp_path / 'ref')}
    opt |= {'meta_info_file': str(tmp_path / 'gt.txt'), 'meta_info_file_ref': str(tmp_path / 'ref.txt')}
    with pytest.raises(RefStarError, match=r'1 missing: .*ref/x/2\.png'):
        read_manifest(opt)
    (entry,) = read_manifest({**opt, 'missing': 'drop'})
    assert entry.gt == tmp_path / 'gt/x.png' and entry.refs == (tmp_path / 'ref/x/1.png',)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a.png (512,512,3)\na.png (512,512,3)', r'meta\.txt:2: .a\.png. is listed already at .*meta\.txt:1'),
        ('no suffix', r'meta\.txt:1: expected a line such as'),
        ('a.png (512,x,3)', 'expected a line such as'),
        ('/etc/a.png', 'must be a file name inside'),
        ('x' * 300 + '.png', 'must be a file name inside'),
    ],
)
def test_a_wrong_meta_info_is_named(tmp_path, text, message):
    (tmp_path / 'meta.txt').write_text(text)
    with pytest.raises(RefStarError, match=message):
        read_manifest({'dataroot': str(tmp_path), 'meta_info_file': str(tmp_path / 'meta.txt')})


@pytest.mark.parametrize(
    ('opt', 'message'),
    [
        ({}, 'give dataroot'),
        ({'dataroot': 'no/such/folder'}, 'no/such/folder'),
        ({'dataroot': '.', 'split_file': 'no_split.txt'}, 'no_split.txt: cannot be read'),
        ({'dataroot': '.', 'split_file': 'outside.txt'}, "outside.txt: '../other' must be a file name inside"),
        ({'dataroot': '.', 'dataroot_gt': '.'}, 'dataroot_gt cannot be used together'),
        ({'dataroot': ['a', 'b']}, 'dataroot must be one path'),
        ({'dataroot': '.', 'io_backend': 'lmdb'}, 'io_backend must have type'),
        ({'dataroot': '.', 'io_backend': {'type': 'lmdb'}}, 'else type: disk'),
        ({'dataroot': 'a.lmdb', 'io_backend': {'type': 'disk'}}, 'type: lmdb where'),
    ],
)
def test_wrong_options(tmp_path, monkeypatch, opt, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'outside.txt').write_text('../other\n')
    with pytest.raises(RefStarError, match=message):
        read_manifest(opt)
