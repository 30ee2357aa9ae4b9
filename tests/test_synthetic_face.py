"""Synthetic people: exact correspondence, honest masks, determinism, and the sample dictionary."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import refstar  # noqa: F401
from refstar import RefStarError
from refstar.data.synthetic import face as geometry
from refstar.data.synthetic import identity as people
from refstar.data.synthetic import match
from refstar.data.synthetic import warp as warps
from refstar.data.synthetic.identity import person
from refstar.data.synthetic.photo import draw_shot, take_photo
from refstar.data.synthetic_face_dataset import SyntheticFaceDataset

SIZE = 128
OPTION = {'name': 'synthetic', 'type': 'SyntheticFaceDataset', 'gt_size': 64, 'identities': 6, 'num_refs': 2}


def shots(identity: int, count: int = 2, **changes) -> list[geometry.Shot]:
    return [replace(draw_shot(np.random.default_rng([7, identity, k])), **changes) for k in range(count)]


def warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Samples an image (3, H, W) as torch's grid_sample does, independent of the renderer's own remap."""
    grid = torch.from_numpy(flow).permute(1, 2, 0)[None]
    return F.grid_sample(torch.from_numpy(image)[None], grid, mode='bilinear', align_corners=False)[0].numpy()


@pytest.mark.parametrize('identity', range(6))
def test_flow_carries_the_references_texture_onto_the_gt(identity):
    gt, ref = (take_photo(person(0, identity, SIZE), shot.unlit(), SIZE) for shot in shots(identity))
    flow, visible, selected = match.correspond(gt, ref)
    assert selected.sum() > 0.08 * SIZE**2
    assert not (selected & ~visible).any()

    def error(shift_x: float, shift_y: float) -> float:
        moved = flow + np.float32([shift_x, shift_y])[:, None, None] * (2 / SIZE)
        return float(np.square(warped(ref.planes, moved) - gt.planes)[:, selected].mean())

    right = error(0, 0)
    assert right**0.5 < 0.035  # resampling of moles and strands; a wrong correspondence gives far more
    # sub-pixel: half a pixel off in any direction is worse
    assert all(error(dx, dy) > right for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)))
    assert error(3, 0) > 3 * right


def test_flow_leads_to_the_same_canonical_point():
    for identity in range(6):
        gt, ref = (take_photo(person(0, identity, SIZE), shot, SIZE) for shot in shots(identity))
        flow, _, selected = match.correspond(gt, ref)
        on_face = selected & (gt.layer == match.FACE)
        head, shot = ref.head, ref.shot
        s, t = geometry.screen_to_head(head, shot, np.concatenate([flow, np.ones_like(flow[:1])]))
        depth = np.sqrt(np.maximum(1 - s * s - t * t, 0))
        u, v = ref.warp.backward(*geometry.disc_to_chart(head, shot, np.stack([s, t, depth]), 1.0))
        off = np.hypot(u - gt.u, v - gt.v)[on_face] * SIZE / 2
        assert on_face.sum() > 500
        assert off.mean() < 0.03
        assert np.quantile(off, 0.99) < 0.3


def test_flow_there_and_back_is_the_identity():
    gt, ref = (take_photo(person(0, 3, SIZE), shot, SIZE) for shot in shots(3))
    there, _, selected = match.correspond(gt, ref)
    back, _, seen = match.correspond(ref, gt)
    trusted = selected & (warped(seen[None].astype(np.float32), there)[0] > 0.999)
    home = warped(back, there)
    x, y, _ = geometry.pixel_grid(SIZE)
    off = np.hypot(home[0] - x, home[1] - y)[trusted] * SIZE / 2
    assert trusted.mean() > 0.05
    assert np.quantile(off, 0.95) < 0.3


def test_a_photo_corresponds_to_itself():
    photo = take_photo(person(0, 1, SIZE), shots(1, 1, glasses=False)[0], SIZE)
    flow, visible, selected = match.correspond(photo, photo)
    off = np.abs(flow - geometry.pixel_grid(SIZE)[:2]) * SIZE / 2
    assert visible.mean() > 0.2
    assert (visible == selected).all()
    assert off.mean() < 0.01
    assert off.max() < 0.3


def place(photo: match.Photo, u: float, v: float) -> tuple[int, int]:
    """Row and column of the pixel of the face that shows a canonical point."""
    distance = np.hypot(photo.u - u, photo.v - v) + 9 * (photo.layer != match.FACE)
    return np.unravel_index(distance.argmin(), distance.shape)


def test_masks_leave_out_what_differs():
    someone = person(0, 4, SIZE)
    head = someone.head
    frontal = geometry.Shot()
    base = take_photo(someone, frontal, SIZE)
    eye, cheek = place(base, *head.eye), place(base, head.eye[0], 0.25)
    lip = place(base, 0.0, head.mouth[1] + 0.6 * head.mouth[2])

    def selected(**changes) -> np.ndarray:
        return match.correspond(base, take_photo(someone, replace(frontal, **changes), SIZE))[2]

    same = selected()
    assert same[eye]
    assert same[cheek]
    assert same[lip]
    assert not same[2, 2]  # background
    blink = selected(eyes=0.0)
    assert not blink[eye]
    assert blink[cheek]
    assert blink[lip]
    talk = selected(mouth=1.0)
    assert talk[eye]
    assert not talk[lip]
    glasses = selected(glasses=True)
    assert not glasses[eye]
    assert glasses[lip]
    turned = selected(yaw=0.44)
    assert turned.sum() < same.sum()
    side = np.cumsum(same.sum(0)) / same.sum()
    left, right = int(np.searchsorted(side, 0.08)), int(np.searchsorted(side, 0.92))
    assert abs(int(turned[:, :left].sum()) - int(turned[:, right:].sum())) > 20  # one side is hidden, not both


def test_warp_and_its_inverse():
    head = geometry.Head()
    shot = geometry.Shot(yaw=0.44, pitch=-0.2, mouth=1.0, smile=1.0, brows=(1.0, 1.0))
    warp = warps.Warp(warps.warp_basis(head), shot)
    u, v = np.meshgrid(np.linspace(-1, 1, 200, dtype=np.float32), np.linspace(-1, 1.2, 200, dtype=np.float32))
    there = warp.forward(*warp.backward(u, v))
    off = np.hypot(there[0] - u, there[1] - v) * SIZE / 2
    assert off.mean() < 0.03
    assert off.max() < 0.6
    assert np.abs(warp.forward(u, v)[1] - v).max() > 0.08


def test_sphere_and_screen_are_inverted_exactly():
    head = geometry.Head(jaw=0.2, temple=-0.03)
    shot = geometry.Shot(yaw=0.4, pitch=-0.2, roll=0.1, scale=0.9, shift=(0.03, 0.06))
    u, v = np.meshgrid(np.linspace(-0.6, 0.6, 50, dtype=np.float32), np.linspace(-0.6, 0.9, 50, dtype=np.float32))
    for radius in (1.0, head.hair_radius):
        s, t, cosine = geometry.chart_to_disc(head, shot, u, v, radius)
        x, y = geometry.head_to_screen(head, shot, s, t)
        back = geometry.screen_to_head(head, shot, np.stack([x, y, np.ones_like(x)]))
        np.testing.assert_allclose(back, (s, t), atol=2e-6)
        depth = np.sqrt(np.maximum(radius**2 - s * s - t * t, 0))
        seen = cosine > 0.1
        again = geometry.disc_to_chart(head, shot, np.stack([s, t, depth]), radius)
        np.testing.assert_allclose(np.stack(again)[:, seen], np.stack([u, v])[:, seen], atol=1e-4)


def test_people_differ_and_stay_themselves():
    first = people._create(0, 5, 64)
    again = people._create(0, 5, 64)
    np.testing.assert_array_equal(first.albedo, again.albedo)
    np.testing.assert_array_equal(first.mane, again.mane)
    assert first.head == again.head
    other, elsewhere = people._create(0, 6, 64), people._create(1, 5, 64)
    assert first.head != other.head
    assert first.head != elsewhere.head


def test_identity_is_in_fine_detail():
    """A face keeps visible detail above what four-fold shrinking leaves."""
    strength = []
    for identity in range(12):
        photo = take_photo(person(0, identity, SIZE), geometry.Shot(), SIZE)
        small = F.avg_pool2d(torch.from_numpy(photo.planes)[None], 4)
        coarse = F.interpolate(small, scale_factor=4, mode='bilinear')[0].numpy()
        face = (photo.layer == match.FACE) & (np.hypot(photo.u, photo.v - 0.1) < 0.6)
        strength.append((photo.planes - coarse).mean(0)[face].std())
    assert np.mean(strength) > 0.03


def dataset(**changes) -> SyntheticFaceDataset:
    return SyntheticFaceDataset({**OPTION, 'phase': 'train', **changes})


def test_sample_dictionary():
    sample = dataset(min_refs=1)[3]
    n, s = 2, 64
    shapes = {
        'lq': (3, s, s),
        'gt': (3, s, s),
        'refs': (n, 3, s, s),
        'ref_mask': (n, 1, s, s),
        'gt_mask': (n, 1, s, s),
        'flow': (n, 2, s, s),
        'flow_valid': (n, 1, s, s),
    }
    for key, shape in shapes.items():
        assert sample[key].shape == shape, key
        assert sample[key].dtype == torch.float32, key
        assert torch.isfinite(sample[key]).all(), key
    for key in ('lq', 'gt', 'refs'):
        assert sample[key].abs().max() <= 1
    assert sample['gt'].min() < -0.2
    assert sample['gt'].max() > 0.2
    assert (sample['lq'] - sample['gt']).abs().mean() > 0.01
    for key in ('ref_valid', 'mask_known'):
        assert sample[key].shape == (n,)
        assert sample[key].dtype == torch.bool
    for key in ('ref_mask', 'gt_mask', 'flow_valid'):
        assert set(sample[key].unique().tolist()) <= {0.0, 1.0}
    assert not (sample['gt_mask'] > sample['flow_valid']).any()
    assert set(sample) == {*shapes, 'ref_valid', 'mask_known', 'lq_path', 'gt_path', 'identity'}


def test_padding_and_dropped_references_are_empty():
    data = dataset(min_refs=1)
    partly = next(s for s in map(data.__getitem__, range(20)) if s['ref_valid'].sum() == 1)
    for sample, slot in ((partly, 1), (dataset(ref_drop_prob=1.0)[0], 0)):
        assert not sample['ref_valid'][slot]
        assert not sample['mask_known'][slot]
        for key in ('refs', 'ref_mask', 'gt_mask', 'flow', 'flow_valid'):
            assert not sample[key][slot].any(), key


def test_wrong_references_select_nothing():
    sample = dataset(wrong_ref_prob=1.0)[1]
    assert sample['ref_valid'].all()
    assert sample['mask_known'].all()
    assert sample['refs'].any()
    for key in ('ref_mask', 'gt_mask', 'flow_valid'):
        assert not sample[key].any(), key


def test_validation_brings_a_wrong_person():
    sample = dataset(phase='val')[2]
    assert sample['identity'] == '00002'
    assert sample['lq_path'] == 'synthetic/00002_0000.png'
    assert sample['wrong_valid'].tolist() == sample['ref_valid'].tolist() == [True, True]
    assert (sample['wrong_refs'] - sample['refs']).abs().mean() > 0.02
    assert sample['gt_mask'].any()


def test_samples_depend_on_seed_and_index_alone():
    ahead = [dataset()[i] for i in range(4)]
    data = dataset()
    for index in (3, 1, 0, 2):
        for key, value in data[index].items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, ahead[index][key]), key
            else:
                assert value == ahead[index][key]
    assert not torch.equal(dataset(seed=1)[0]['gt'], ahead[0]['gt'])
    loaded = list(torch.utils.data.DataLoader(torch.utils.data.Subset(data, range(4)), num_workers=2))
    for sample, one in zip(ahead, loaded, strict=True):
        assert torch.equal(sample['refs'], one['refs'][0])


def test_people_follow_their_number_not_the_split():
    whole, tail = dataset(phase='val'), dataset(phase='val', identities=3, first_identity=3)
    assert len(tail) == 3 * 100
    assert tail[0]['identity'] == whole[3]['identity'] == '00003'
    assert torch.equal(tail[0]['gt'], whole[3]['gt'])
    assert {whole[i]['identity'] for i in range(6)} == {f'{i:05d}' for i in range(6)}


def test_memory_of_people_is_bounded(monkeypatch):
    people._people.clear()
    size = person(0, 0, 32).nbytes
    monkeypatch.setattr(people, 'CACHE_BYTES', 3 * size)
    for index in range(6):
        person(0, index, 32)
    assert [key[1] for key in people._people] == [3, 4, 5]


@pytest.mark.parametrize(
    ('changes', 'word'),
    [
        ({'gt_size': 8}, 'gt_size'),
        ({'identities': '6'}, 'identities'),
        ({'min_refs': 3}, 'min_refs'),
        ({'photos_per_identity': 2}, 'photos_per_identity'),
        ({'wrong_ref_prob': 1.5}, 'wrong_ref_prob'),
        ({'identities': 1, 'wrong_ref_prob': 0.1}, 'identities'),
        ({'degradation': 'no_such_preset'}, 'no_such_preset'),
    ],
)
def test_senseless_options_are_refused(changes, word):
    with pytest.raises(RefStarError, match=word):
        dataset(**changes)
