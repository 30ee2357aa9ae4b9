"""`refstar masks build`: its files, kills, pairs, curation, and how good proposals are."""

import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from helpers import runs

from refstar.curate.mask_build import SMALLEST, objection, teachers
from refstar.curate.mask_propagation import agreement, merge
from refstar.curate.mask_review import MaskReview, review_lock
from refstar.curate.pair_sources import BLURRED, SyntheticPairs, mine
from refstar.data.head_region import hidden_side
from refstar.data.images import decode
from refstar.data.mask_proposal import propose
from refstar.data.pairs import Face
from refstar.data.refsel_dataset import RefSelDataset
from refstar.data.synthetic.render_photo import correspond
from refstar.tools.masks_build import OPTIONS, main

PAIRS, SIZE = 36, 48


@pytest.fixture(scope='module')
def small(tmp_path_factory) -> Path:
    """The shipped training, small, with many checkpoints."""
    opt = yaml.safe_load(OPTIONS.read_text())
    opt['network_g'] |= {'size': 32, 'channels': 8}
    opt['datasets']['train'] |= {'gt_size': 32, 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0}
    opt['logger'] |= {'print_freq': 1, 'save_checkpoint_freq': 1}
    return runs.write_options(tmp_path_factory.mktemp('options') / 'small.yml', opt)


def arguments(out: Path, small: Path) -> list[str]:
    given = ['--synthetic', PAIRS, '--size', SIZE, '--opt', small, '--iterations', 6, '--agreement', 0]
    return [str(value) for value in (*given, '--confidence', 0.7, '--jobs', 1, '-o', out)]


def rows(out: Path) -> dict[str, dict[str, str]]:
    with open(out / 'meta.csv', newline='') as file:
        return {row['id']: row for row in csv.DictReader(file)}


@pytest.fixture(scope='module')
def whole(small, tmp_path_factory) -> Path:
    """A build that nothing interrupted."""
    out = tmp_path_factory.mktemp('whole') / 'masks'
    assert main(arguments(out, small)) == 0
    return out


def test_the_files_are_triplets_that_train_refsel(whole) -> None:
    table = rows(whole)
    assert len(table) == PAIRS
    for name, row in table.items():
        mask = cv2.imread(str(whole / 'mask' / f'{name}.png'), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (SIZE, SIZE) and set(np.unique(mask)) <= {0, 255}
        assert float(row['area']) == pytest.approx((mask > 0).mean(), abs=1e-3)
        assert 0 <= float(row['confidence']) <= 1 and 0 <= float(row['agreement']) <= 1
        assert row['provenance'] == ('propagated' if row['objection'] else 'accepted')
    accepted = [name for name, row in table.items() if row['provenance'] == 'accepted']
    assert 0 < len(accepted) < PAIRS
    opt = {'dataroot': str(whole), 'gt_size': SIZE, 'provenance': ['accepted'], 'draws': 1, 'wrong_ref_prob': 0}
    assert len(RefSelDataset(opt)) == len(accepted)


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_same_files(whole, small, tmp_path) -> None:
    out = tmp_path / 'masks'
    states = out / 'build/train/experiments/masks/training_states'
    command, end = [sys.executable, '-m', 'refstar.tools.masks_build', *arguments(out, small)], time.monotonic() + 240
    for reached in (
        lambda: (out / 'build/proposals/records/000005.json').exists(),
        lambda: list(states.glob('[2-5].state')),
    ):
        process = subprocess.Popen(command, env=runs.ENVIRONMENT)
        while not reached():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        process.kill()
        process.wait()
        assert not (out / 'meta.csv').exists()
    assert main(arguments(out, small)) == 0
    built, expected = runs.files_under(out), runs.files_under(whole)
    names = {name for name in expected if name.split('/')[0] in ('gt', 'ref', 'mask', 'meta.csv')}
    assert {name: built[name] for name in names} == {name: expected[name] for name in names}


def test_a_later_build_keeps_what_a_person_decided(whole, small, tmp_path) -> None:
    out = shutil.copytree(whole, tmp_path / 'masks', symlinks=True)
    mine, other = sorted(rows(out))[:2]
    review = MaskReview(out)
    review.accept(review.look(mine), np.full((SIZE, SIZE), 255, np.uint8))
    review.close()
    with review_lock(out):
        assert main(arguments(out, small)) == 2
    shutil.rmtree(out / 'build/masks')
    (out / 'mask' / f'{other}.png').unlink()
    assert main([*arguments(out, small), '--confidence', '1']) == 0
    assert decode(out / 'mask' / f'{mine}.png', 'L').min() == 255
    assert (out / 'mask' / f'{other}.png').read_bytes() == (whole / 'mask' / f'{other}.png').read_bytes()
    states = {name: row['provenance'] for name, row in rows(out).items()}
    assert states.pop(mine) == 'edited' and set(states.values()) == {'propagated'}


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (['--synthetic', '0'], '--synthetic'),
        (['--agreement', '1.5'], '--agreement'),
        (['--similarity', '0.5', '0.2'], '--similarity'),
        (['--network', 'mobilefacenet'], '--weights'),
        (['--landmarks', 'nowhere.onnx'], 'nowhere.onnx'),
        (['--pairs', '3'], '--pairs'),
        (['--opt', str(OPTIONS.parents[1] / 'demo/backbone.yml')], 'backbone.yml'),
        (['--seed', '7'], 'seed'),
        (['somewhere'], 'ROOT'),
    ],
)
def test_wrong_input_is_named(change, named, whole, small, capsys) -> None:
    before = runs.files_under(whole)
    assert main([*arguments(whole, small), *change]) == 2
    assert named in capsys.readouterr().err
    assert runs.files_under(whole) == before


@pytest.mark.parametrize('name', ['points', 'points.onnx', 'points.pth', 'landmarks_wflw'])
def test_landmarks_of_another_form_are_refused(name, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    assert main(['.', '-o', 'out', '--landmarks', name]) == 2
    err = capsys.readouterr().err
    assert f'--landmarks {name}: neither points (.npz' in err and len(err.splitlines()) == 1
    assert not Path('out').exists()


def test_points_and_a_detector_are_refused(tmp_path, capsys) -> None:
    points = tmp_path / 'points.npz'
    points.touch()
    given = [str(tmp_path), '-o', str(tmp_path / 'out'), '--landmarks', str(points)]
    assert main([*given, '--detector', 'yunet']) == 2
    assert 'leave out one of the two' in capsys.readouterr().err
    assert main(given) == 2  # taken: what is wrong is the empty folder
    assert '--landmarks' not in capsys.readouterr().err


def test_proposals_of_procedural_people() -> None:
    pairs = SyntheticPairs(16, 128, 5)
    found = []
    for index in range(16):
        gt, ref = pairs.photos(index)
        mask, truth = propose(*pairs.faces({'index': index})).probability > 0.5, correspond(ref, gt)[2]
        found.append((mask & truth).sum() / (mask | truth).sum())
    assert np.mean(found) > 0.74


def test_what_is_before_the_face_is_not_proposed() -> None:
    gt, ref = SyntheticPairs(1, 96, 3).faces({'index': 0})
    hidden = np.zeros((96, 96), np.float32)
    hidden[50:70, 30:60] = 1
    covered = Face(ref.img, None, hidden)
    assert (propose(gt, ref).probability > 0.5)[50:70, 30:60].mean() > 0.5
    assert not (propose(gt, covered).probability > 0.5)[50:70, 30:60].any()


def test_the_side_that_a_turn_hides() -> None:
    size = 96
    rows_, columns = np.mgrid[:size, :size].astype(np.float32)
    depth = np.sqrt(np.clip(1 - ((columns + 0.5) / size * 2 - 1) ** 2, 0, None))
    shown, trust = np.ones((size, size), np.float32), np.ones((size, size), np.float32)

    def hidden(turn: float) -> np.ndarray:
        return hidden_side(shown, np.stack([columns + turn * size * depth, rows_], -1), trust)[size // 2]

    still, left, right = hidden(0), hidden(-0.5), hidden(0.5)
    assert np.array_equal(still, still[::-1]) and np.array_equal(left, right[::-1])
    assert right[size // 2 :].sum() > still[size // 2 :].sum() > right[: size // 2].sum() - 1


def record(name: str, confidence: float, area: float = 0.4, **more) -> dict:
    return {'id': name, 'identity': name, 'confidence': confidence, 'area': area, **more}


def test_teachers_are_the_more_confident_half() -> None:
    records = [record('a', 0.9), record('b', 0.2), record('c', 0.8), record('d', 0.3), record('e', 1, SMALLEST / 2)]
    assert [one['id'] for one in teachers(records)] == ['a', 'c']


@pytest.mark.parametrize(
    ('confidence', 'area', 'agreement', 'reason'),
    [
        (0.7, 0.4, 0.8, ''),
        (0.69, 0.4, 1.0, 'confidence 0.69'),
        (0.9, 0.4, 0.79, 'agree'),
        (1.0, 0.01, 1.0, 'selects 1.0 %'),
    ],
)
def test_objections_say_what_is_wrong(confidence, area, agreement, reason) -> None:
    found = objection(record('a', confidence, area, agreement=agreement), {'confidence': 0.7, 'agreement': 0.8})
    assert reason in found and bool(found) == bool(reason)


def test_merging_and_agreement() -> None:
    a, b = np.zeros((32, 32), np.float32), np.full((32, 32), 0.2, np.float32)
    a[:16], b[8:24] = 0.9, 0.6
    assert agreement(a, b) == pytest.approx(1 / 3) and agreement(a, a) == 1 == agreement(a * 0, b * 0)
    assert np.array_equal(merge(a, b).any(1), np.arange(32) < 16)  # where one is unsure, the other decides


def photo(name: str, identity: str, sharp: float = 1.0, vector=(1, 0), problem: str = '', points=None) -> dict:
    embedding = list(np.array(vector) / np.linalg.norm(vector))
    found = {'image': f'{identity}/{name}.jpg', 'identity': identity, 'stem': name, 'problem': problem}
    return found | {'sharpness': sharp, 'points': points, 'embedding': embedding}


def test_pairs_are_of_one_person_sharp_and_no_double() -> None:
    photos = [
        photo('a', 'one'),
        photo('b', 'one', 0.9, (1, 1)),
        photo('double', 'one', 0.8, (1, 0.01)),
        photo('stranger', 'one', 1, (-1, 0.1)),
        photo('blurred', 'one', BLURRED / 2, (1, 1)),
        photo('broken', 'one', 1, (1, 1), problem='is broken'),
        photo('a', 'two'),
    ]
    found = mine(photos)
    assert [(pair['gt']['stem'], pair['ref']['stem']) for pair in found] == [
        ('b', 'a'),
        ('double', 'b'),
    ]  # the sharper one is the reference
    assert found[0]['id'] == 'one-b-a' and found[0]['similarity'] == pytest.approx(0.707, abs=0.001)


def test_pairs_of_a_person_are_spread_over_poses() -> None:
    base = np.random.default_rng(0).random((68, 2)) * 0.1 + 0.4
    base[36:42], base[42:48] = base[36:42] - 0.1, base[42:48] + 0.1
    photos = []
    for i in range(6):
        points = base.copy()
        points[30, 0] += 0.02 * i**2  # the nose: it turns more and more
        photos.append(photo(str(i), 'one', vector=(1, i), points=points.tolist()))
    found = mine(photos, per_person=3, similarity=(-1, 1))
    spread = [pair['spread'] for pair in found]
    assert len(found) == 3 and spread == sorted(spread) and spread[-1] > 3 * spread[0]
    assert len(mine(photos, per_person=3, limit=2)) == 2


def test_ids_are_plain_and_unique() -> None:
    photos = [photo('ä/1', 'x y'), photo('ä:1', 'x y', vector=(1, 1)), photo('ä?1', 'x y', vector=(0, 1))]
    names = [pair['id'] for pair in mine(photos, similarity=(-1, 1))]
    assert len({name.lower() for name in names}) == 3
    assert all(Path(name).name == name and '?' not in name and ':' not in name for name in names)


def test_a_collection_of_photos(tmp_path, identity_weights, capsys) -> None:
    """Three people: one photo is broken, one person has one photo only."""
    root, out, names = tmp_path / 'people', tmp_path / 'out', []
    for person in range(3):
        (root / str(person)).mkdir(parents=True)
        for number in range(3 if person else 1):
            img = SyntheticPairs(4 * person + 1, 64, 1).people.photo(person, number).image
            names.append(f'{person}/{number}.png')
            cv2.imwrite(str(root / names[-1]), np.rint(img[..., ::-1] * 255).astype(np.uint8))
    (root / '1/2.png').write_bytes(b'no image')
    points = np.full((68, 2), 0.5)
    points[:17] = np.stack([np.linspace(0.2, 0.8, 17), 0.5 + 0.4 * np.sin(np.linspace(0, np.pi, 17))], 1)
    points[17:27] = np.stack([np.linspace(0.25, 0.75, 10), np.full(10, 0.35)], 1)
    points[36:42], points[42:48], points[48:68] = (0.37, 0.47), (0.63, 0.47), (0.5, 0.73)
    moved = np.random.default_rng(0).random((len(names), 68, 2)) * 0.02 + points
    np.savez(tmp_path / 'points.npz', names=names, points=moved)
    args = [root, '-o', out, '--size', 64, '--iterations', 0, '--jobs', 2, '--network', 'mobilefacenet']
    args += ['--weights', identity_weights, '--landmarks', tmp_path / 'points.npz', '--similarity', -1, 1]
    assert main([str(arg) for arg in [*args, '--confidence', 0]]) == 0
    said = capsys.readouterr().out
    assert '1 of 6 photos left out' in said and '2.png: is not a readable image' in said
    table = rows(out)
    assert len(table) == 4 and {row['identity'] for row in table.values()} == {'1', '2'}
    assert all(-1 <= float(row['similarity']) <= 1 and float(row['spread']) > 0 for row in table.values())
    assert all(row['agreement'] == '' and row['gt_source'].startswith(str(root)) for row in table.values())


@pytest.mark.parametrize('detector', ['yunet_n_640_640.onnx', 'detection_mobilenet0.25_Final.pth'])
def test_alignment_of_whole_photos(detector, faces_root, tmp_path) -> None:
    """A face that was moved, turned and made smaller comes back to where it was."""
    source = sorted((faces_root / 'london_512').glob('*/01.jpg'))[0]
    img = cv2.imread(str(source))
    person = tmp_path / 'people/someone'
    person.mkdir(parents=True)
    for number, (angle, scale) in enumerate(((12, 0.6), (-8, 0.8))):
        matrix = cv2.getRotationMatrix2D((256, 256), angle, scale)
        matrix[:, 2] += 120, 60
        cv2.imwrite(str(person / f'{number}.png'), cv2.warpAffine(img, matrix, (760, 640)))
    out = tmp_path / 'out'
    args = [tmp_path / 'people', '-o', out, '--size', 128, '--iterations', 0, '--jobs', 1, '--network', '']
    assert main([str(arg) for arg in [*args, '--detector', faces_root / 'weights' / detector]]) == 0
    shown = [cv2.imread(str(file)) for file in (out / 'build/photos/images').glob('*.png')]
    coarse = [cv2.resize(one, (32, 32), interpolation=cv2.INTER_AREA)[8:28, 8:24] for one in (*shown, img)]
    assert np.corrcoef([one.astype(float).ravel() for one in coarse]).min() > 0.9  # detectors err by a pixel or two
