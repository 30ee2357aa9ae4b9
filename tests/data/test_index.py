"""The index of a collection: says what the manifest says, opens at once, and is refused where it is broken."""

import json

import cv2
import numpy as np
import pytest
import torch
from helpers.runs import data_command as main
from safetensors.numpy import load_file, save_file

from refstar.data.collections.index import FORMAT, Index
from refstar.data.collections.manifest import photos_by_identity, read_manifest
from refstar.data.reference_pair_dataset import ReferencePairDataset
from refstar.data.reference_test_dataset import ReferenceTestDataset
from refstar.utils.errors import RefStarError


@pytest.fixture
def faces(tmp_path):
    for person, count in (('ann', 3), ('bo b', 2), ('çé', 2)):
        for i in range(count):
            img = np.random.default_rng(i).integers(0, 256, (24, 24, 3), np.uint8)
            (tmp_path / 'faces' / person).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / 'faces' / person / f'{i + 8}.png'), img)
    return tmp_path / 'faces'


@pytest.fixture
def index(faces, tmp_path):
    assert main(['index', str(faces), str(tmp_path / 'lists/faces.index')]) == 0
    return tmp_path / 'lists/faces.index'


def test_says_what_the_folders_say(faces, index):
    found, expected = read_manifest({'index_file': str(index)}), read_manifest({'dataroot': str(faces)})
    assert list(found) == expected and found[-1] == expected[-1] and len(found) == 7
    people = photos_by_identity(found)
    assert dict(people) == photos_by_identity(expected) and list(people) == list(photos_by_identity(expected))
    assert read_manifest({'index_file': str(index), 'max_images': 3}) == read_manifest(
        {'dataroot': str(faces), 'max_images': 3}
    )


def test_a_csv_with_weights_and_degraded_images(faces, tmp_path):
    table = tmp_path / 'list.csv'
    rows = ['gt_image,lq_image,ref_image,weight', """ann/8.png,ann/9.png,"['ann/9.png', 'ann/10.png']",3"""]
    table.write_text('\n'.join([*rows, """bo b/8.png,bo b/9.png,"['bo b/9.png']",1"""]))
    out = tmp_path / 'list.index'
    assert main(['index', str(table), str(out), '--gt', str(faces), '--lq', str(faces)]) == 0
    opt = {'reference_csv': str(table), 'dataroot_gt': str(faces), 'dataroot_lq': str(faces)}
    assert list(read_manifest({'index_file': str(out)})) == list(read_manifest(opt))
    assert Index(out).weights.tolist() == [3, 1]


def test_data_sets_give_the_same_samples(faces, index):
    for kind in (ReferencePairDataset, ReferenceTestDataset):
        opt = {'gt_size': 24, 'degradation': 'gfpgan'}
        a, b = kind({**opt, 'index_file': str(index)}), kind({**opt, 'dataroot': str(faces)})
        assert len(a) == len(b)
        for i in (0, 4, len(a) - 1):
            for key, value in a[i].items():
                assert torch.equal(value, b[i][key]) if torch.is_tensor(value) else value == b[i][key], key


def test_photos_may_have_moved(faces, index, tmp_path):
    faces.rename(tmp_path / 'elsewhere')
    dataset = ReferencePairDataset({'index_file': str(index), 'gt_size': 24})
    with pytest.raises(RefStarError, match=r'8.png: there is no such file'):
        dataset[0]
    moved = ReferencePairDataset({'index_file': str(index), 'gt_size': 24, 'dataroot': str(tmp_path / 'elsewhere')})
    assert moved[0]['gt'].shape == (3, 24, 24)


def test_what_is_no_index_is_refused(index, tmp_path):
    (tmp_path / 'text').write_text('no')
    tables, bad = load_file(index), str(tmp_path / 'bad')
    note = {'refstar': json.dumps({'format': FORMAT, 'root': str(tmp_path)})}

    def message(**changes):
        save_file({**tables, **changes}, bad, note)
        with pytest.raises(RefStarError) as error:
            list(read_manifest({'index_file': bad}))
        return str(error.value)

    assert 'broken index' in message(gt=tables['gt'] + 99)
    assert 'broken index' in message(**{'refs.ends': tables['refs.ends'] * 2})
    assert 'broken index' in message(**{'names.data': tables['names.data'].astype(np.float32)})
    assert 'broken index' in message(weights=tables['weights'][1:])
    climbing = tables['files.data'].copy()
    climbing[:3] = np.frombuffer(b'../', np.uint8)
    assert 'must be a file name inside' in message(**{'files.data': climbing})
    save_file(tables, bad)
    for file, text in ((bad, 'no index of format'), (tmp_path / 'text', 'is no index'), ('none', 'there is no none')):
        with pytest.raises(RefStarError, match=text):
            read_manifest({'index_file': str(file)})
    with pytest.raises(RefStarError, match='split_file cannot be used together with index_file'):
        read_manifest({'index_file': str(index), 'split_file': 'x.txt'})


def test_errors_of_the_command(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert main(['index', str(tmp_path / 'empty'), str(tmp_path / 'a')]) == 2
    assert 'no image' in capsys.readouterr().err
    assert main(['index', str(tmp_path / 'none'), str(tmp_path / 'a')]) == 2
    assert not (tmp_path / 'a').exists()
