"""Synthetic people: exact correspondence, honest masks, determinism, and the sample dictionary."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.samples import check_sample, same_sample

from refstar.data.synthetic import head_geometry as geometry
from refstar.data.synthetic import identity as people
from refstar.data.synthetic.identity import person
from refstar.data.synthetic.render_photo import Photo, correspond, draw_shot, take_photo
from refstar.data.synthetic_face_dataset import SyntheticFaceDataset
from refstar.utils.errors import RefStarError

SIZE = 128
TEXTURES = ('albedo', 'mane', 'relief', 'basis')
OPTION = {'name': 'synthetic', 'type': 'SyntheticFaceDataset', 'gt_size': 64, 'identities': 6, 'num_refs': 2}


def shots(identity: int) -> list[geometry.Shot]:
    return [draw_shot(np.random.default_rng([7, identity, k])) for k in range(2)]


def warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Samples an image (3, H, W) as torch's grid_sample does, independent of the renderer's own remap."""
    grid = torch.from_numpy(flow).permute(1, 2, 0)[None]
    return F.grid_sample(torch.from_numpy(image)[None], grid, mode='bilinear', align_corners=False)[0].numpy()


@pytest.mark.parametrize('identity', range(6))
def test_flow_takes_the_texture_of_the_reference(identity):
    gt, ref = (take_photo(person(0, identity, SIZE), shot.unlit(), SIZE) for shot in shots(identity))
    flow, visible, selected = correspond(gt, ref)
    assert selected.sum() > 0.08 * SIZE**2 and not (selected & ~visible).any()

    def error(shift_x: float, shift_y: float) -> float:
        nudged = flow + np.float32([shift_x, shift_y])[:, None, None] * (2 / SIZE)
        return float(np.square(warped(ref.planes, nudged) - gt.planes)[:, selected].mean())

    right = error(0, 0)
    assert right**0.5 < 0.035  # resampling of moles and strands; a wrong correspondence gives far more
    # sub-pixel: half a pixel off in any direction is worse
    assert all(error(dx, dy) > right for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)))
    assert error(3, 0) > 3 * right


def chart(photo: Photo, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
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
    cells, low, high = geometry.WARP_CELLS, geometry.WARP_LOW, geometry.WARP_HIGH
    places = [(x - a) / (b - a) * (cells - 1) for x, a, b in zip((u, v), low, high, strict=True)]
    flow = np.stack([(2 * place + 1) / cells - 1 for place in places]).astype(np.float32)
    return warped(np.ascontiguousarray(grid.transpose(2, 0, 1)), flow)


@pytest.mark.parametrize('size', [SIZE, 65])
def test_maps_of_a_photo_follow_the_formulas(size):
    photo = take_photo(person(0, 2, size), replace(shots(2)[0], yaw=0.3, pitch=-0.2, roll=0.1, mouth=0.8), size)
    pixels = geometry.screen_grid(size, size)
    hair = photo.layer == geometry.HAIR
    off = np.hypot(*(chart(photo, *pixels, photo.head.hair_radius) - (photo.u, photo.v)))[hair] * size / 2
    assert off.max() < 1e-3
    face = photo.layer == geometry.FACE
    assert hair.sum() > 0.02 * size**2 and face.sum() > 0.1 * size**2
    p = chart(photo, *pixels, 1.0)
    off = np.hypot(*(p - moved(photo.warp.backward, *p) - (photo.u, photo.v)))[face] * size / 2
    assert off.mean() < 0.02 and off.max() < 0.3


def test_flow_leads_to_the_same_canonical_point():
    for identity in range(6):
        gt, ref = (take_photo(person(0, identity, SIZE), shot, SIZE) for shot in shots(identity))
        flow, visible, selected = correspond(gt, ref)
        q = np.stack([gt.u, gt.v])
        hair = visible & (gt.layer == geometry.HAIR)
        assert np.hypot(*(chart(ref, *flow, ref.head.hair_radius) - q))[hair].max() * SIZE / 2 < 2e-3
        face = selected & (gt.layer == geometry.FACE)
        assert face.sum() > 500
        p = chart(ref, *flow, 1.0)
        assert np.hypot(*(p - moved(ref.warp.forward, *q) - q))[face].max() * SIZE / 2 < 2e-3
        off = np.hypot(*(p - moved(ref.warp.backward, *p) - q))[face] * SIZE / 2
        assert off.mean() < 0.03 and np.quantile(off, 0.99) < 0.3


def place(photo: Photo, u: float, v: float) -> tuple[int, int]:
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
        return correspond(base, take_photo(someone, replace(frontal, **changes), SIZE))[2]

    same = selected()
    assert same[eye] and same[cheek] and same[lip] and not same[2, 2]  # background
    blink = selected(eyes=0.0)
    assert not blink[eye] and blink[cheek] and blink[lip]
    talk = selected(mouth=1.0)
    assert talk[eye] and not talk[lip]
    glasses = selected(glasses=True)
    assert not glasses[eye] and glasses[lip]
    turned = selected(yaw=0.44)
    assert turned.sum() < same.sum()
    side = np.cumsum(same.sum(0)) / same.sum()
    left, right = int(np.searchsorted(side, 0.08)), int(np.searchsorted(side, 0.92))
    assert abs(int(turned[:, :left].sum()) - int(turned[:, right:].sum())) > 20  # one side is hidden, not both


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


def test_samples_have_the_documented_form():
    for index in range(8):
        check_sample(dataset(min_refs=1, ref_drop_prob=0.3, wrong_ref_prob=0.3)[index], 2, 64)
    sample = dataset()[3]
    assert (sample['lq'] - sample['gt']).abs().mean() > 0.01
    assert not (sample['gt_mask'] > sample['flow_valid']).any()


def test_chances_of_references():
    assert {int(dataset(min_refs=1)[i]['ref_valid'].sum()) for i in range(12)} == {1, 2}
    assert not dataset(ref_drop_prob=1.0)[0]['ref_valid'].any()
    wrong = dataset(wrong_ref_prob=1.0)[1]
    assert wrong['ref_valid'].all() and wrong['mask_known'].all() and wrong['refs'].any()
    assert not any(wrong[key].any() for key in ('ref_mask', 'gt_mask', 'flow_valid'))


def test_validation_has_a_wrong_person():
    sample = dataset(phase='val')[2]
    assert sample['identity'] == '00002'
    assert sample['lq_path'] == 'synthetic/00002_0000.png'
    assert sample['wrong_valid'].tolist() == sample['ref_valid'].tolist() == [True, True]
    assert (sample['wrong_refs'] - sample['refs']).abs().mean() > 0.02
    assert sample['gt_mask'].any()


def test_samples_depend_on_seed_and_index_alone():
    ahead = [dataset()[i] for i in range(4)]
    data = dataset()
    assert all(same_sample(data[i], ahead[i]) for i in (3, 1, 0, 2))
    assert not torch.equal(dataset(seed=1)[0]['gt'], ahead[0]['gt'])


def test_people_follow_their_number_not_the_split():
    whole, tail = dataset(phase='val'), dataset(phase='val', identities=3, first_identity=3)
    assert tail[0]['identity'] == whole[3]['identity'] == '00003'
    assert torch.equal(tail[0]['gt'], whole[3]['gt'])
    assert {whole[i]['identity'] for i in range(6)} == {f'{i:05d}' for i in range(6)}


def test_memory_of_people_is_bounded(monkeypatch):
    people._people.clear()
    monkeypatch.setattr(people, 'CACHE_BYTES', 3 * sum(getattr(person(0, 0, 32), name).nbytes for name in TEXTURES))
    for index in range(6):
        person(0, index, 32)
    assert [key[1] for key in people._people] == [3, 4, 5]


@pytest.mark.parametrize(
    ('changes', 'word'),
    [
        ({'min_refs': 3}, 'min_refs'),
        ({'photos_per_identity': 2}, 'photos_per_identity'),
        ({'identities': 1, 'wrong_ref_prob': 0.1}, 'identities'),
        ({'degradation': 'no_such_preset'}, 'no_such_preset'),
    ],
)
def test_senseless_options_are_refused(changes, word):
    with pytest.raises(RefStarError, match=word):
        dataset(**changes)
