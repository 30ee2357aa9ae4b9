"""Self-pairs and landmark pairs: the flow is exact, the masks leave out what is hidden or in another state."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from refstar.data.face_region import Landmarks, eye_opening, face_oval, mouth_opening
from refstar.data.geometry import invert, pixel_grid, returns, smooth_warp, to_flow, to_positions, warp
from refstar.data.pairs import Face, real_pair, selected_pair, self_pair
from refstar.data.photometric import relight, soften
from refstar.utils.errors import RefStarError

SIZE = 64


def photo(seed=0):
    """A smooth random picture: interpolation costs it little."""
    noise = np.random.default_rng(seed).random((SIZE // 4, SIZE // 4, 3), dtype=np.float32)
    return cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def landmarks(mouth=0.0):
    """68 points of a schematic face; `mouth` opens the inner lips, shares of the side."""
    points = np.zeros((68, 2))
    angle = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([0.5 + 0.28 * np.cos(angle), 0.5 + 0.4 * np.sin(angle)], 1)
    points[17:27] = np.stack([np.linspace(0.28, 0.72, 10), np.full(10, 0.4)], 1)
    points[27:36] = np.stack([np.r_[np.full(4, 0.5), np.linspace(0.44, 0.56, 5)], np.linspace(0.46, 0.62, 9)], 1)
    eye = np.array([(-0.06, 0), (-0.02, -0.02), (0.02, -0.02), (0.06, 0), (0.02, 0.02), (-0.02, 0.02)])
    points[36:42], points[42:48] = eye + np.array((0.37, 0.47)), eye + np.array((0.63, 0.47))
    outer = np.linspace(np.pi, -np.pi, 12, endpoint=False)
    points[48:60] = np.stack([0.5 + 0.12 * np.cos(outer), 0.72 - (0.04 + mouth) * np.sin(outer)], 1)
    inner = np.linspace(np.pi, -np.pi, 8, endpoint=False)
    points[60:68] = np.stack([0.5 + 0.09 * np.cos(inner), 0.72 - (0.002 + mouth) * np.sin(inner)], 1)
    return points.astype(np.float32)


def fetch(img, flow):
    """What a network does with the flow."""
    grid, picture = torch.from_numpy(flow)[None], torch.from_numpy(img.transpose(2, 0, 1).copy())[None]
    return F.grid_sample(picture, grid, align_corners=False)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(('seed', 'mirror'), [(0, 0), (1, 0), (2, 0), (3, 0), (1, 1), (2, 1)])
def test_self_pair_leads_back_to_the_gt(seed, mirror):
    gt = photo(seed)
    pair = self_pair(Face(gt), np.random.default_rng(seed), light_strength=0, mirror_prob=mirror)
    seen = pair.flow_valid > 0
    error = np.abs(fetch(pair.ref, pair.flow) - gt).max(-1)
    assert seen.mean() > 0.75 and error[seen].mean() < 0.015 and np.quantile(error[seen], 0.99) < 0.04
    assert (pair.flow[0, 0, 0] > pair.flow[0, -1, 0]) == mirror
    # a flow that is off by one pixel would be noticed
    off = np.abs(fetch(pair.ref, pair.flow + 2 / SIZE) - gt).max(-1)
    assert off[seen].mean() > 5 * error[seen].mean()


def test_masks_agree_across_the_flow():
    pair = self_pair(Face(photo()), np.random.default_rng(2))
    carried = fetch(pair.ref_mask[..., None], pair.flow)[..., 0] > 0.5
    union = (carried | (pair.gt_mask > 0)).sum()
    assert (carried & (pair.gt_mask > 0)).sum() > 0.93 * union
    assert pair.known and set(np.unique(pair.gt_mask)) == {0, 1}
    assert pair.gt_mask.sum() > 0.6 * face_oval(SIZE).sum() and (pair.gt_mask <= face_oval(SIZE)).all()


def test_things_before_the_face_are_not_selected():
    hidden = np.zeros((SIZE, SIZE), np.float32)
    hidden[30:45, 25:40] = 1
    pair = self_pair(Face(photo(), hidden=hidden), np.random.default_rng(3))
    assert (pair.gt_mask * hidden).sum() == 0 and (pair.flow_valid * hidden).sum() == 0
    full, covered = (self_pair(Face(photo()), np.random.default_rng(4), occlusion_prob=p) for p in (0, 1))
    assert covered.flow_valid.sum() < full.flow_valid.sum() and covered.ref_mask.sum() <= full.ref_mask.sum()


def test_light_and_softness_keep_range_and_type():
    img = photo()
    rng = np.random.default_rng(0)
    out = soften(relight(img, rng), rng)
    assert out.dtype == np.float32 and out.min() >= 0 and out.max() <= 1 and np.abs(out - img).mean() > 0.01
    assert np.abs(relight(img, rng, 0) - img).max() < 0.005


def test_smooth_warps_are_inverted():
    assert np.allclose(fetch(photo(), to_flow(pixel_grid(SIZE))), photo(), atol=1e-5)
    for seed in range(10):
        back = smooth_warp(SIZE, np.random.default_rng(seed))
        there = invert(back)
        assert returns(there, back, 0.2).mean() > 0.75


def test_landmarks_give_the_flow():
    """The reference is the GT moved by a known warp; its landmarks alone bring it back."""
    gt, points = photo(5), landmarks()
    back = pixel_grid(SIZE) - np.float32([3, 2])  # the reference lies 3 px to the right, 2 px below
    pair = real_pair(Face(gt, points), Face(warp(gt, back), points + np.float32([3, 2]) / SIZE))
    middle = np.zeros((SIZE, SIZE), bool)
    middle[30:48, 22:42] = True
    assert pair.known and pair.flow_valid[middle].all()
    assert np.abs(to_positions(pair.flow) - pixel_grid(SIZE) - (3, 2))[middle].max() < 0.4
    assert np.abs(fetch(pair.ref, pair.flow) - gt)[middle].mean() < 0.03
    assert pair.gt_mask.sum() > 0.2 * SIZE**2


def test_open_mouth_is_left_out_against_a_closed_one():
    closed, opened = landmarks(), landmarks(mouth=0.03)
    assert mouth_opening(closed) < 0.05 < 0.2 < mouth_opening(opened)
    assert eye_opening(closed[36:42]) > 0.3
    same = real_pair(Face(photo(), closed), Face(photo(1), closed))
    other = real_pair(Face(photo(), closed), Face(photo(1), opened))
    mouth = int(0.72 * SIZE), SIZE // 2
    assert same.gt_mask[mouth] == 1 and same.ref_mask[mouth] == 1
    assert other.gt_mask[mouth] == 0 and other.ref_mask[mouth] == 0
    assert other.gt_mask[SIZE // 2, SIZE // 2] == 1


def test_given_mask_is_kept_and_carried_over():
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[30:40, 30:40] = 1
    points = landmarks()
    pair = selected_pair(Face(photo(), points), Face(photo(1), points), mask)
    assert (pair.ref_mask == mask).all() and np.abs(pair.gt_mask - mask).sum() < 5
    alone = selected_pair(Face(photo()), Face(photo(1)), mask)
    assert alone.known and (alone.ref_mask == mask).all() and alone.gt_mask.sum() == 0


def test_landmark_files(tmp_path):
    points = np.stack([landmarks(), landmarks(0.02)])
    np.savez(tmp_path / 'a.npz', names=np.array(['ann/1.png', 'ann/2.png']), points=points)
    found = Landmarks(str(tmp_path / 'a.npz'), [tmp_path / 'faces'])
    assert np.array_equal(found(tmp_path / 'faces/ann/2.png'), points[1])
    assert found(tmp_path / 'faces/bob/1.png') is None and found(tmp_path / 'ann/1.png') is None
    np.savez(tmp_path / 'b.npz', names=np.array(['ann/1.png']), points=np.full((1, 5, 2), 300))
    np.savez(tmp_path / 'c.npz', names=np.array(['ann/1.png']), points=np.full((1, 1, 2), 0.5))
    np.savez(tmp_path / 'd.npz', points=points)
    (tmp_path / 'e.csv').write_text('name,x0,y0')
    for name in ('b.npz', 'c.npz', 'd.npz', 'e.csv', 'none.npz'):
        with pytest.raises(RefStarError, match=name):
            Landmarks(str(tmp_path / name), [tmp_path])
