"""`refstar data split`: nobody is in two splits, and references come in the order of farthest-point sampling."""

import json

import numpy as np
import pytest
import torch
from helpers import runs
from helpers.photos import check, collection, pack, write

from refstar.curate.people_split import divide, reference_rows
from refstar.data.collections.reference_csv import read_reference_csv
from refstar.data.people_clusters import farthest_first, same_person
from refstar.tools.data import main
from refstar.utils.errors import RefStarError


def test_divide_is_disjoint_complete_and_repeatable():
    people = [f'p{i}' for i in range(103)]
    splits = divide(people, [0.8, 0.1, 0.1], seed=3)
    assert sorted(name for names in splits.values() for name in names) == sorted(people)
    assert [len(names) for names in splits.values()] == [83, 10, 10]
    assert divide(people[::-1], [0.8, 0.1, 0.1], seed=3) == splits != divide(people, [0.8, 0.1, 0.1], seed=4)
    assert [len(names) for names in divide(people[:3], [0.98, 0.01, 0.01], 0).values()] == [1, 1, 1]
    assert [len(names) for names in divide(people, [1, 0, 0], 0).values()] == [103, 0, 0]
    for fractions in ([0.5, 0.5, 0.5], [1, 0], [1.2, -0.1, -0.1], [float('nan')] * 3):
        with pytest.raises(RefStarError, match='fractions'):
            divide(people, fractions, 0)
    with pytest.raises(RefStarError, match='2 people cannot be divided into 3 splits'):
        divide(people[:2], [0.8, 0.1, 0.1], 0)


def directions(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_same_person_are_connected_components():
    embeddings = directions(0, 200, 40, 205, 80, 300)  # 40 degrees are a distance of 0.23, 80 of 0.83
    people = [own.tolist() for own in same_person(embeddings, 0.4)]
    assert people == [[0, 2, 4], [1, 3], [5]]
    assert len(same_person(embeddings, 0.1)) == 5
    many = directions(*np.repeat(np.arange(0, 360, 3), 20))  # several blocks
    assert [len(own) for own in same_person(many, 1e-4)] == [20] * 120


def test_references_are_ordered_by_farthest_point_sampling():
    embeddings = directions(0, 10, 90, 50, 52)
    assert farthest_first(embeddings, 5) == [3, 0, 2, 1, 4]  # the middle one, then each as far as can be
    rows = {row.gt: row.refs for row in reference_rows(list('abcde'), embeddings, max_refs=2)}
    assert rows['e'] == ('d', 'a') and rows['c'] == ('b', 'e')
    far = {row.gt: row.refs for row in reference_rows(list('abcde'), embeddings, max_refs=9, min_distance=0.1)}
    assert far['e'] == ('b', 'c', 'a') and far['d'] == ('b', 'c', 'a')  # d and e show the same
    assert reference_rows(list('ab'), embeddings[:2], 9, min_distance=0.1) == []


def test_split_of_identity_folders_is_a_split_file(tmp_path, capsys):
    root = collection(tmp_path / 'faces', {f'p{i}': 2 for i in range(10)})
    (root / 'nobody').mkdir()
    args = ['split', str(root), '--out', str(tmp_path / 'splits'), '--fractions', '0.6', '0.2', '0.2']
    assert main(args) == 0
    lists = [tmp_path / f'splits/{name}.txt' for name in ('train', 'val', 'test')]
    assert [len(path.read_text().split()) for path in lists] == [6, 2, 2]
    assert check(root, '--splits', *lists)[0] == 0
    before = runs.files_under(tmp_path / 'splits')
    assert main(args) == 2 and 'exists already' in capsys.readouterr().err
    assert main([*args, '--overwrite']) == 0 and runs.files_under(tmp_path / 'splits') == before
    counts = json.loads((tmp_path / 'splits/split.json').read_text())['splits']['val']
    assert counts == {'people': 2, 'lines': 2, 'rows': 0}


def test_split_of_a_csv_keeps_people_together(tmp_path):
    rows = [f'{i}.png,{i}.png,"[\'{i + 1}.png\']",2' for i in range(0, 40, 2)]
    rows += [f'{i + 1}.png,{i + 1}.png,"[\'{i}.png\']",1' for i in range(0, 40, 2)]
    (tmp_path / 'all.csv').write_text('\n'.join(['gt_image,lq_image,ref_image,weight', *rows]))
    assert main(['split', str(tmp_path / 'all.csv'), '--out', str(tmp_path / 'out')]) == 0
    tables = [tmp_path / f'out/{name}_references.csv' for name in ('train', 'val', 'test')]
    people = [{row.person for row in read_reference_csv(table)} for table in tables]
    assert [len(names) for names in people] == [16, 2, 2] and len(set.union(*people)) == 20
    headers = [table.read_text().split('\n')[0] for table in tables[::2]]
    assert headers == ['gt_image,ref_image,weight', 'gt_image,lq_image,ref_image,weight']


@pytest.fixture
def colour_network(tmp_path):
    """A network that knows people by the colour of their photos."""

    class Colour(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    path = tmp_path / 'colour.pt'
    torch.jit.script(Colour()).save(str(path))
    return path


def test_split_of_unknown_people(tmp_path, capsys, colour_network):
    """A flat folder becomes lists and csv that a data set can train on; the same again as an lmdb."""
    rng = np.random.default_rng(0)
    colours = [(250, 5, 5), (5, 250, 5), (5, 5, 250), (250, 250, 5), (5, 250, 250), (250, 5, 250)]
    for p, colour in enumerate(colours):
        for i in range(8 if p else 1):
            shade = np.clip(np.array(colour) + rng.integers(-5, 6, 3), 0, 255)
            write(tmp_path / f'flat/{8 * p + i:05d}.png', np.full((32, 32, 3), shade, np.uint8))
    (tmp_path / 'flat/99999.png').write_bytes(b'no image')
    args = ['split', str(tmp_path / 'flat'), '--network', 'torchscript', '--weights', str(colour_network)]
    args += ['--fractions', '0.5', '0.25', '0.25', '--jobs', '1', '--test_distance', '0', '--max_refs', '2']
    assert main([*args, '--out', str(tmp_path / 'out')]) == 0
    out = capsys.readouterr().out
    assert '41 photos of 6 people, 1 of them with one photo only' in out and '1 photos were left out' in out
    people = []
    for name in ('train', 'val', 'test'):
        listed = (tmp_path / f'out/{name}.txt').read_text().split()
        people.append({int(photo[:5]) // 8 for photo in listed})
        rows = read_reference_csv(tmp_path / f'out/{name}_references.csv')
        for row in rows:
            assert len(row.refs) == 2 and row.gt not in row.refs
            assert {int(photo[:5]) // 8 for photo in row.refs} == {int(row.gt[:5]) // 8}
        assert {row.gt for row in rows} == {photo for photo in listed if photo != '00000.png'}
    assert [len(p) for p in people] == [3, 2, 1] or [len(p) for p in people] == [3, 1, 2]
    assert set.union(*people) == set(range(6))
    tables = [tmp_path / f'out/{name}_references.csv' for name in ('train', 'val', 'test')]
    assert check(*tables, '--gt', tmp_path / 'flat', '--duplicates', 'off')[0] == 0
    done = json.loads((tmp_path / 'out/split.json').read_text())
    assert done['network'] == 'torchscript' and len(done['sha256']) == 64 and done['left_out'] == 1
    (tmp_path / 'flat/99999.png').unlink()
    args[1] = str(pack(tmp_path / 'flat'))
    assert main([*args, '--out', str(tmp_path / 'again')]) == 0
    same = [runs.files_under(tmp_path / folder) for folder in ('out', 'again')]
    assert all(same[0][name] == same[1][name] for name in same[0] if name != 'split.json')


def test_people_who_are_alike_share_a_split(tmp_path, colour_network, capsys):
    for i, colour in enumerate([(250, 5, 5), (245, 5, 5), (250, 120, 5), (250, 125, 5), (5, 5, 250), (5, 5, 245)]):
        write(tmp_path / f'flat/{i}.png', np.full((32, 32, 3), colour, np.uint8))
    args = ['split', str(tmp_path / 'flat'), '--network', 'torchscript', '--weights', str(colour_network)]
    args += ['--jobs', '1', '--fractions', '0.5', '0.5', '0', '--distance', '0.001', '--out', str(tmp_path / 'out')]
    assert main([*args, '--split_distance', '0.5']) == 0 and '6 photos of 3 people' in capsys.readouterr().out
    lists = [(tmp_path / f'out/{name}.txt').read_text().split() for name in ('train', 'val')]
    assert sorted(lists) == [['0.png', '1.png', '2.png', '3.png'], ['4.png', '5.png']]
    rows = [row for s in ('train', 'val') for row in read_reference_csv(tmp_path / f'out/{s}_references.csv')]
    assert {row.gt: row.refs for row in rows} == {f'{i}.png': (f'{i ^ 1}.png',) for i in range(6)}
    assert main([*args, '--overwrite', '--split_distance', '0.0001']) == 2
