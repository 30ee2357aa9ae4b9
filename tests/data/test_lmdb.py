"""lmdb: BasicSR's are read like folders, a broken one is one clear error."""

import numpy as np
import pytest
import torch
from helpers.photos import face, pack, write, write_csv
from torch.utils.data import DataLoader

from refstar.data.collections.manifest import read_manifest
from refstar.data.images import decode
from refstar.data.reference_pair_dataset import ReferencePairDataset
from refstar.data.reference_test_dataset import ReferenceTestDataset
from refstar.utils.errors import RefStarError


@pytest.fixture
def packed(tmp_path):
    """A folder of people, and the same as an lmdb by BasicSR's own script."""
    names = ['ann/1.png', 'ann/2.png', 'ann/10.png', 'bob/1.png', 'bob/2.png']
    for i, name in enumerate(names):
        write(tmp_path / 'people' / name, face(i, 16))
    return tmp_path / 'people', pack(tmp_path / 'people')


@pytest.mark.filterwarnings('ignore:This DataLoader')
def test_lmdb_gives_the_same_samples_as_the_folder(packed):
    folder, database = packed
    opt = {'gt_size': 16, 'cache': True, 'draws': 2}
    disk = ReferencePairDataset({**opt, 'dataroot': str(folder), 'io_backend': {'type': 'disk'}})
    lmdb = ReferencePairDataset({**opt, 'dataroot': str(database), 'io_backend': {'type': 'lmdb'}, 'cache': False})
    assert [e.name for e in lmdb.entries] == ['ann_1', 'ann_2', 'ann_10', 'bob_1', 'bob_2']
    for index, sample in enumerate(DataLoader(lmdb, batch_size=None, num_workers=2)):
        for key in ('lq', 'gt', 'refs'):
            assert torch.equal(sample[key], disk[index][key])


def test_lmdb_for_gt_lq_and_references(tmp_path):
    """Stems and csv; the csv may name a .jpg, as CelebA-HQ-img does, where BasicSR packed it as .png."""
    for i, name in enumerate(('gt/a.png', 'gt/b.png', 'lq/a.png', 'lq/b.png', 'ref/a/1.jpg', 'ref/b.jpg')):
        write(tmp_path / name, face(i, 16))
    for part in ('gt', 'lq', 'ref'):
        pack(tmp_path / part)
    opt = {f'dataroot_{part}': str(tmp_path / f'{part}.lmdb') for part in ('gt', 'lq', 'ref')}
    a, b = read_manifest({**opt, 'io_backend': {'type': 'lmdb'}})
    assert a.refs == (tmp_path / 'ref.lmdb/a/1.png',) and b.refs == (tmp_path / 'ref.lmdb/b.png',)
    assert np.array_equal(decode(a.refs[0], 'RGB'), decode(tmp_path / 'ref/a/1.jpg', 'RGB'))
    assert ReferenceTestDataset({**opt, 'gt_size': 16})[1]['lq_path'].endswith('lq.lmdb/b.png')
    csv = write_csv(tmp_path / 'a.csv', 'a.png,a.png,"[\'b.jpg\']"')
    (entry,) = read_manifest({**opt, 'reference_csv': csv})
    assert np.array_equal(decode(entry.refs[0], 'RGB'), decode(tmp_path / 'ref/b.jpg', 'RGB'))
    with pytest.raises(RefStarError, match=r'1 missing: .*ref\.lmdb/c\.jpg'):
        read_manifest({**opt, 'reference_csv': write_csv(tmp_path / 'a.csv', 'a.png,a.png,"[\'c.jpg\']"')})


def test_broken_lmdb_is_one_clear_error(packed):
    """LMDB itself ends the process by SIGBUS where its file is shorter than it says."""
    _, database = packed
    data = (database / 'data.mdb').read_bytes()
    for content in (*(data[:n] for n in (0, 10, 4096, 8192, len(data) - 4096, len(data) - 1)), b'x' * len(data)):
        (database / 'data.mdb').write_bytes(content)
        with pytest.raises(RefStarError, match=r'people\.lmdb: is no whole lmdb'):
            read_manifest({'dataroot': str(database)})
    (database / 'data.mdb').write_bytes(data)
    meta = database / 'meta_info.txt'
    meta.write_text(meta.read_text() + 'bob/3.png (16,16,3) 1\n')
    with pytest.raises(RefStarError, match=r'meta_info\.txt lists 6 images, data\.mdb holds 5'):
        read_manifest({'dataroot': str(database)})
    meta.unlink()
    with pytest.raises(RefStarError, match=r'meta_info\.txt is missing'):
        read_manifest({'dataroot': str(database)})
