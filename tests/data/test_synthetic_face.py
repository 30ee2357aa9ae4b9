"""Synthetic people: exact correspondence, honest masks, determinism, and the sample dictionary."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import refstar  # noqa: F401
from refstar import RefStarError
from refstar.data.synthetic import expression_warp as warps
from refstar.data.synthetic import head_geometry as geometry
from refstar.data.synthetic import identity as people
from refstar.data.synthetic import photo_match as match
from refstar.data.synthetic.identity import person
from refstar.data.synthetic.render_photo import draw_shot, take_photo
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
        nudged = flow + np.float32([shift_x, shift_y])[:, None, None] * (2 / SIZE)
        return float(np.square(warped(ref.planes, nudged) - gt.planes)[:, selected].mean())

    right = error(0, 0)
    assert right**0.5 < 0.035  # resampling of moles and strands; a wrong correspondence gives far more
    # sub-pixel: half a pixel off in any direction is worse
    assert all(error(dx, dy) > right for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)))
    assert error(3, 0) > 3 * right


def chart(photo: match.Photo, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Screen points to the displaced canonical plane (2, ...): the formulas of `face`, independent of the renderer."""
    head, shot = photo.head, photo.shot
    turn = np.exp(-1j * shot.roll) / shot.scale * ((x - shot.shift[0]) + 1j * (y - np.float64(shot.shift[1])))
    t = turn.imag / head.half_height
    s = turn.real / head.half_width / (1 - t * t * ((head.jaw + head.temple) + (head.jaw - head.temple) * t) / 2)
    points = np.stack([s, t, np.sqrt(np.abs(radius**2 - s * s - t * t))])
    (cos_y, sin_y), (cos_p, sin_p) = ((np.cos(angle), np.sin(angle)) for angle in (shot.yaw, shot.pitch))
    yaw = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
    pitch = np.array([[1, 0, 0], [0, cos_p, sin_p], [0, -sin_p, cos_p]])
    a, b, depth = np.einsum('ji,j...->i...', pitch @ yaw, points)
    return np.stack([head.half_width * a, head.half_height * b]) * 2 / (radius + depth)


def moved(grid: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A grid of displacements (cells, cells, 2) at canonical points: (2, ...)."""
    cells, low, high = warps.WARP_CELLS, warps.WARP_LOW, warps.WARP_HIGH
    places = [(x - a) / (b - a) * (cells - 1) for x, a, b in zip((u, v), low, high, strict=True)]
    flow = np.stack([(2 * place + 1) / cells - 1 for place in places]).astype(np.float32)
    return warped(np.ascontiguousarray(grid.transpose(2, 0, 1)), flow)


@pytest.mark.parametrize('size', [SIZE, 65])
def test_maps_of_a_photo_follow_the_formulas(size):
    """What a pixel shows, against the formulas in double precision; displacements are worked out at half the size."""
    photo = take_photo(person(0, 2, size), replace(shots(2)[0], yaw=0.3, pitch=-0.2, roll=0.1, mouth=0.8), size)
    pixels = geometry.screen_grid(size, size)
    hair = photo.layer == geometry.HAIR
    assert hair.sum() > 0.02 * size**2
    off = np.hypot(*(chart(photo, *pixels, photo.head.hair_radius) - (photo.u, photo.v)))[hair] * size / 2
    assert off.max() < 1e-3
    face = photo.layer == geometry.FACE
    assert face.sum() > 0.1 * size**2
    p = chart(photo, *pixels, 1.0)
    off = np.hypot(*(p - moved(photo.warp.backward, *p) - (photo.u, photo.v)))[face] * size / 2
    assert off.mean() < 0.02
    assert off.max() < 0.3


def test_flow_leads_to_the_same_canonical_point():
    for identity in range(6):
        gt, ref = (take_photo(person(0, identity, SIZE), shot, SIZE) for shot in shots(identity))
        flow, visible, selected = match.correspond(gt, ref)
        q = np.stack([gt.u, gt.v])
        hair = visible & (gt.layer == geometry.HAIR)
        assert np.hypot(*(chart(ref, *flow, ref.head.hair_radius) - q))[hair].max() * SIZE / 2 < 2e-3
        face = selected & (gt.layer == geometry.FACE)
        assert face.sum() > 500
        p = chart(ref, *flow, 1.0)
        assert np.hypot(*(p - moved(ref.warp.forward, *q) - q))[face].max() * SIZE / 2 < 2e-3
        off = np.hypot(*(p - moved(ref.warp.backward, *p) - q))[face] * SIZE / 2
        assert off.mean() < 0.03
        assert np.quantile(off, 0.99) < 0.3


def place(photo: match.Photo, u: float, v: float) -> tuple[int, int]:
    """Row and column of the pixel of the face that shows a canonical point."""
    distance = np.hypot(photo.u - u, photo.v - v) + 9 * (photo.layer != geometry.FACE)
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
    warp = warps.Warp.of(warps.warp_basis(head), shot)
    p = np.stack(np.meshgrid(np.linspace(-1, 1, 200), np.linspace(-1, 1.2, 200)))
    q = p - moved(warp.backward, *p)
    off = np.hypot(*(q + moved(warp.forward, *q) - p)) * SIZE / 2
    assert off.mean() < 0.03
    assert off.max() < 0.6
    assert np.abs(moved(warp.forward, *p)[1]).max() > 0.08


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
        face = (photo.layer == geometry.FACE) & (np.hypot(photo.u, photo.v - 0.1) < 0.6)
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


def test_a_fresh_process_makes_the_same_sample():
    """A spawned worker has the data set by pickle ."""
    data = dataset()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(data, [5]), num_workers=1, multiprocessing_context='spawn'
    )
    for key, value in next(iter(loader)).items():
        assert not isinstance(value, torch.Tensor) or torch.equal(value[0], data[5][key]), key


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
