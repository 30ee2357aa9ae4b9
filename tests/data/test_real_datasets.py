"""Datasets of photos on tiny generated ones: contract of the samples, chances, determinism, clear errors."""

import cv2
import numpy as np
import pytest
import torch
from helpers.samples import check_sample, same_sample
from torch.utils.data import DataLoader, default_collate

from refstar.data.mixed_dataset import MixedDataset
from refstar.data.reference_pair_dataset import ReferencePairDataset
from refstar.data.reference_test_dataset import ReferenceTestDataset
from refstar.data.refsel_dataset import RefSelDataset
from refstar.layers import identity_grid
from refstar.utils.errors import RefStarError

SIZE = 32
PEOPLE = {'ann': 3, 'bob': 2, 'cid': 1}


def picture(path, seed, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (size, size)))


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    root = tmp_path_factory.mktemp('faces')
    for p, (person, count) in enumerate(PEOPLE.items()):
        for i in range(count):
            picture(root / person / f'{i}.png', 10 * p + i)
    return root


@pytest.fixture(scope='module')
def triplets(tmp_path_factory):
    root = tmp_path_factory.mktemp('refsel')
    (root / 'mask').mkdir()
    lines = ['id,identity,provenance']
    for i in range(4):
        picture(root / f'gt/{i}.png', i)
        picture(root / f'ref/{i}.png', 50 + i)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[: 4 * (i + 1), :8] = 255
        cv2.imwrite(str(root / f'mask/{i}.png'), mask)
        lines.append(f'{i},person{i // 2},{"accepted" if i else "proposed"}')
    (root / 'meta.csv').write_text('\n'.join(lines))
    return root


def options(root, **more):
    return {'dataroot': str(root), 'gt_size': SIZE, 'degradation': 'ffhq_ref_severe', **more}


def certain(**more):
    """Options without any chance but those given."""
    chances = {'ref_drop_prob': 0, 'wrong_ref_prob': 0, 'self_pair_prob': 0, 'occlusion_prob': 0, 'ref_jitter': 0}
    return {**chances, 'use_hflip': False, **more}


def read(path):
    return torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1) / 127.5 - 1


def test_training_samples(faces):
    dataset = ReferencePairDataset(options(faces, num_refs=3, min_refs=0, cache=True, draws=10))
    assert len(dataset) == 60
    for index in range(60):
        check_sample(dataset[index], 3, SIZE)
    assert default_collate([dataset[i] for i in range(8)])['refs'].shape == (8, 3, 3, SIZE, SIZE)
    assert dataset[0]['gt_path'] == dataset[6]['gt_path'] and not torch.equal(dataset[0]['lq'], dataset[6]['lq'])
    other_seed = ReferencePairDataset(options(faces, num_refs=3, min_refs=0, seed=1))
    assert not same_sample(dataset[0], other_seed[0])


def test_real_references_are_other_photos_of_the_person(faces):
    dataset = ReferencePairDataset(options(faces, num_refs=3, min_refs=3, **certain()))
    ann = dataset[0]
    assert ann['identity'] == 'ann' and torch.allclose(ann['gt'], read(faces / 'ann/0.png'), atol=1e-6)
    assert ann['ref_valid'].tolist() == [True, True, False] and not ann['mask_known'].any()
    for other in (read(faces / f'ann/{i}.png') for i in (1, 2)):
        assert sum(torch.allclose(other, ref, atol=1e-6) for ref in ann['refs']) == 1
    assert not dataset[5]['ref_valid'].any()  # cid has one photo and self-pairs are off


def test_each_chance_does_what_it_says(faces):
    def sample(index=0, **chances):
        return ReferencePairDataset(options(faces, **certain(**chances)))[index]

    assert not sample(ref_drop_prob=1)['ref_valid'].any()

    wrong = sample(wrong_ref_prob=1)
    others = [read(faces / name) for name in ('bob/0.png', 'bob/1.png', 'cid/0.png')]
    assert any(torch.allclose(wrong['refs'][0], other, atol=1e-6) for other in others)
    assert wrong['ref_valid'].all() and wrong['mask_known'].all()
    assert not any(wrong[key].any() for key in ('ref_mask', 'gt_mask', 'flow_valid'))

    for index in (0, 5):
        own = sample(index, self_pair_prob=1)
        assert own['mask_known'].all() and own['gt_mask'].mean() > 0.1 and own['flow_valid'].mean() > 0.5
    assert sample(5, self_pair_prob=0.01)['ref_valid'].all()  # the only photo: nothing else to show

    flipped = [sample(i * 6, use_hflip=True)['gt'] for i in range(8)]
    plain = read(faces / 'ann/0.png')
    kinds = {bool(torch.allclose(gt, plain.flip(-1), atol=1e-6)) for gt in flipped}
    assert kinds == {True, False}

    assert not torch.allclose(sample(ref_jitter=1.0)['refs'], sample()['refs'])


def test_landmarks_make_real_pairs_known(faces, tmp_path):
    grid = np.stack(np.meshgrid([0.3, 0.5, 0.7], [0.35, 0.55, 0.75]), -1).reshape(-1, 2)
    names = [f'ann/{i}.png' for i in range(3)]
    np.savez(tmp_path / 'points.npz', names=np.array(names), points=np.stack([grid] * 3).astype(np.float32))
    extra = {'landmarks': str(tmp_path / 'points.npz')}
    dataset = ReferencePairDataset(options(faces, **certain(ref_jitter=1.0, use_hflip=True), **extra))
    ann, bob = dataset[0], dataset[3]
    assert ann['mask_known'].all() and ann['flow_valid'].mean() > 0.1 and ann['gt_mask'].any()
    assert not bob['mask_known'].any()
    test = ReferenceTestDataset(options(faces, **extra))
    assert 'gt_mask' in test[0] and 'gt_mask' not in test[3]


def test_dense_match_finds_a_shifted_photo(tmp_path):
    img = cv2.resize(np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8), (128, 128))
    for i, shift in enumerate((0, 3)):
        (tmp_path / 'ann').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f'ann/{i}.png'), np.roll(img, shift, 1))
    sample = ReferencePairDataset({**options(tmp_path, **certain(dense_match=True)), 'gt_size': 128})[0]
    flow, known = sample['flow'][0], sample['flow_valid'][0, 0] > 0
    moved = (flow - identity_grid(128, 128, flow)[0])[:, known] * 64
    assert known.float().mean() > 0.1 and sample['mask_known'].all()
    assert abs(moved[0].median() - 3) < 0.3 and abs(moved[1].median()) < 0.3


@pytest.mark.filterwarnings('ignore:This DataLoader')
def test_samples_do_not_depend_on_workers(faces):
    dataset = ReferencePairDataset(options(faces, num_refs=2, draws=2, cache=True))
    loader = DataLoader(dataset, batch_size=None, num_workers=2)
    for index, sample in enumerate(loader):
        assert same_sample(sample, dataset[index]), index
    assert index == len(dataset) - 1


def test_weights_choose_the_images(tmp_path):
    for i in range(3):
        picture(tmp_path / f'{i}.png', i)
    (tmp_path / 'a.csv').write_text('gt_image,ref_image,weight\n0.png,"[\'1.png\']",0\n1.png,"[\'2.png\']",3\n')
    opt = {'reference_csv': str(tmp_path / 'a.csv'), 'dataroot_gt': str(tmp_path), 'gt_size': SIZE, 'wrong_ref_prob': 0}
    dataset = ReferencePairDataset(opt)
    assert {dataset[i]['lq_path'] for i in range(10)} == {'1.png'}


def test_three_arms(faces):
    dataset = ReferenceTestDataset(options(faces, num_refs=2))
    assert len(dataset) == 6 and len({dataset[i]['lq_path'] for i in range(6)}) == 6
    ann = dataset[0]
    assert ann['ref_valid'].tolist() == ann['wrong_valid'].tolist() == [True, True]
    assert torch.allclose(ann['refs'][0], read(faces / 'ann/1.png'), atol=1e-6)
    assert torch.allclose(ann['wrong_refs'][1], read(faces / 'bob/1.png'), atol=1e-6)
    assert not dataset[5]['ref_valid'].any() and not dataset[5]['wrong_valid'].any()
    assert 'gt_mask' not in ann and same_sample(ann, ReferenceTestDataset(options(faces, num_refs=2))[0])
    cut = ReferenceTestDataset(options(faces, num_refs=2, max_images=2))
    assert len(cut) == 2 and same_sample(cut[1], dataset[3])


def test_lq_of_its_own_side(faces, tmp_path):
    """Made or read at the side S / scale; whatever else a sample holds does not change."""
    small, plain = (ReferencePairDataset(options(faces, hard_degradation='gfpgan', scale=s))[1] for s in (4, None))
    assert small['lq'].shape == small['lq_hard'].shape == (3, SIZE // 4, SIZE // 4)
    assert same_sample(*({key: x for key, x in one.items() if key[:2] != 'lq'} for one in (small, plain)))
    assert ReferenceTestDataset(options(faces, scale=4))[0]['lq'].shape == small['lq'].shape
    for name, side in (('lq/a.png', SIZE // 4), ('ref/a.png', SIZE)):
        picture(tmp_path / name, 1, side)
    opt = {'dataroot_lq': str(tmp_path / 'lq'), 'dataroot_ref': str(tmp_path / 'ref'), 'gt_size': SIZE, 'scale': 4}
    assert torch.allclose(ReferenceTestDataset(opt)[0]['lq'], read(tmp_path / 'lq/a.png'), atol=1e-6)


def test_ready_lq_files_without_gt(tmp_path):
    for i, name in enumerate(('lq/a.png', 'ref/a.png', 'lq/b.png', 'ref/b/1.png')):
        picture(tmp_path / name, i)
    opt = {'dataroot_lq': str(tmp_path / 'lq'), 'dataroot_ref': str(tmp_path / 'ref'), 'gt_size': SIZE}
    sample = ReferenceTestDataset(opt)[0]
    assert 'gt' not in sample and torch.allclose(sample['lq'], read(tmp_path / 'lq/a.png'), atol=1e-6)
    assert torch.allclose(sample['wrong_refs'][0], read(tmp_path / 'ref/b/1.png'), atol=1e-6)
    with pytest.raises(RefStarError, match='dataroot_gt'):
        ReferencePairDataset(opt)


def test_refsel_samples(triplets):
    dataset = RefSelDataset(options(triplets, **certain()))
    for index in range(4):
        sample = dataset[index]
        check_sample(sample, 1, SIZE)
        assert sample['mask_known'].all() and sample['ref_mask'].sum() == 32 * (index + 1)
        assert sample['ref_mask'][0, 0, 0, 0] == 1 and sample['identity'] == f'person{index // 2}'
    flipped = [RefSelDataset(options(triplets, **certain(use_hflip=True)))[4 * i]['ref_mask'] for i in range(8)]
    assert {bool(mask[0, 0, 0, 0]) for mask in flipped} == {True, False}


def test_refsel_chances(triplets):
    wrong = RefSelDataset(options(triplets, **certain(wrong_ref_prob=1)))
    foreign = [read(triplets / f'ref/{i}.png') for i in (2, 3)]
    for index in (0, 4, 8):
        sample = wrong[index]
        assert sample['mask_known'].all() and not sample['ref_mask'].any()
        assert any(torch.allclose(sample['refs'][0], ref, atol=1e-6) for ref in foreign)
    own = RefSelDataset(options(triplets, **certain(self_pair_prob=1)))[0]
    assert own['flow_valid'].mean() > 0.5 and own['ref_mask'].mean() > 0.1
    assert not RefSelDataset(options(triplets, **certain(ref_drop_prob=1)))[0]['ref_valid'].any()
    assert len(RefSelDataset(options(triplets, provenance=['accepted'], draws=1))) == 3


def test_refsel_names_missing_files(triplets, tmp_path):
    with pytest.raises(RefStarError, match='no triplet is left'):
        RefSelDataset(options(triplets, provenance=['edited']))
    for part in ('gt', 'ref', 'mask'):
        picture(tmp_path / part / '0.png', 0)
    for name, message in (('7', r'meta\.csv: 3 missing: gt/7'), ('../0', 'inside')):
        (tmp_path / 'meta.csv').write_text(f'id\n0\n{name}\n')
        with pytest.raises(RefStarError, match=message):
            RefSelDataset(options(tmp_path))
    with pytest.raises(RefStarError, match='io_backend must have type'):
        RefSelDataset({**options(tmp_path), 'io_backend': {'type': 'lmdb'}})


def mixed(root, *parts):
    shared = {**options(root), 'type': 'ReferencePairDataset', 'draws': 10}
    return MixedDataset({'parts': list(parts), 'shared': shared})


def test_mixed_parts_come_by_their_shares(faces):
    parts = {'draws': 100}, {'share': 3, 'draws': 100, 'degradation': {'preset': 'gfpgan', 'blur_sigma': 0}}
    dataset = mixed(faces, *parts)
    assert len(dataset) == 1200
    first = ReferencePairDataset({**options(faces), 'draws': 100})
    equal = [torch.equal(dataset[i]['lq'], first[i]['lq']) for i in range(200)]
    assert 30 < sum(equal) < 70


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        ([], 'at least one dataset'),
        ([{'share': 0}], 'parts: 0: share'),
        ([{}, {'type': 'None'}], 'parts: 1: type'),
        ([{'blur': 1}], "'blur'"),
    ],
)
def test_wrong_parts_are_named(faces, parts, message):
    with pytest.raises(RefStarError, match=message):
        mixed(faces, *parts)


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ({'gt_size': 64}, 'is 32x32, expected 64x64'),
        ({'min_refs': 3}, 'min_refs = 3'),
        ({'scale': 3}, 'gt_size = 32 is no multiple of scale = 3'),
        ({'degradation': 'gfpgann'}, 'gfpgann'),
        ({'dataroot': 'no/such/folder'}, 'no/such/folder'),
        ({'max_images': 1, 'wrong_ref_prob': 0.5}, 'wrong_ref_prob'),
        ({'landmarks': 'none.npz'}, 'none.npz'),
    ],
)
def test_wrong_options_are_named(faces, more, message):
    with pytest.raises(RefStarError, match=message):
        ReferencePairDataset({**options(faces, cache=True), **more})
