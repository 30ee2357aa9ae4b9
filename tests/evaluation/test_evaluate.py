"""`refstar evaluate`, run as a user runs it: both ways in, what is counted, what is refused, and the report."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.utils import logger
from helpers.browsing import chromium
from helpers.networks import BACKBONES
from helpers.shrink import replace_files, shrink

from refstar import options as shipped_options
from refstar.tools.evaluate import main
from refstar.trainer.option_file import load_options

SHIPPED = Path(next(iter(shipped_options.__path__)))
SIZE = 48
NAMES = ('00000', '00001', '00002', '00003')


def photo(seed: int, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 255, (9, 9, 3)).astype(np.uint8), (size, size), interpolation=cv2.INTER_CUBIC)


def write(path: Path, img: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), img)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Four photos of two people in the form of FFHQ-Ref, and two methods: `near` is closer to the truth than `far`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', sys.argv)
    monkeypatch.setattr(logger, 'initialized_logger', {})
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    for i, name in enumerate(NAMES):
        write(Path(f'gt/{name}.png'), photo(i))
        write(Path(f'near/{name}_00.png'), cv2.addWeighted(photo(i), 0.9, photo(i + 50), 0.1, 0))
        write(Path(f'far/{name}.png'), cv2.addWeighted(photo(i), 0.6, photo(i + 50), 0.4, 0))
        write(Path(f'refs/{name}r.png'), photo(i + 10, 64))
    others = dict(zip(NAMES, (NAMES[0], NAMES[0], NAMES[3], NAMES[3]), strict=True))
    rows = [f"{n}.png,{n}.png,\"['{o}r.png', '{n}r.png']\"" for n, o in others.items()]
    Path('map.csv').write_text('\n'.join(['gt_image,lq_image,ref_image', *rows]))
    return tmp_path


BOTH = ['--pred', 'near=near', 'far=far', '--pred_suffix', '', '_00', '--resamples', '200']


def evaluate(*more: str) -> dict:
    assert main([*BOTH, '--gt', 'gt', '--out', 'out', *more]) == 0
    return json.loads(Path('out/summary.json').read_text())


def rows(name: str) -> list[dict]:
    with open(f'out/{name}.csv', newline='') as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------- folders of any project
def test_folders_get_figures_and_intervals(folder, identity_weights, capsys):
    mapping = ['--mapping', 'map.csv', '--refs', 'refs', '--num_refs', '2']
    names = ['--id_protocol', 'mobilefacenet', '--id_weights', identity_weights]
    found = evaluate(*mapping, *names)
    own = {row['image']: float(row['psnr']) for row in rows('images') if row['method'] == 'near'}
    for i, name in enumerate(NAMES):
        want = calculate_psnr(cv2.imread(f'near/{name}_00.png'), photo(i), 0)
        assert own[name] == pytest.approx(want, abs=1e-9)
    near = found['means']['near']['psnr']
    assert near['mean'] == pytest.approx(np.mean(list(own.values()))) and near['low'] < near['mean'] < near['high']
    assert (near['n'], near['groups'], found['test_set']['people']) == (4, 2, 2)  # two people, by the shared references
    (gap,) = found['differences']
    assert (gap['of'], gap['minus']) == ('near', 'far') and gap['psnr']['low'] > 0
    means = {(row['method'], row['metric']): float(row['mean']) for row in rows('means') if row['mean']}
    assert gap['psnr']['mean'] == pytest.approx(means['near', 'psnr'] - means['far', 'psnr'])
    assert float(rows('differences')[0]['mean']) == pytest.approx(gap['psnr']['mean'])
    about = next(a for columns, a in found['measures'].items() if 'id_gt' in columns)
    assert about['protocol'] == 'mobilefacenet' and len(about['sha256']) == 64 and about['crop']
    assert means['near', 'copy_gap'] == pytest.approx(means['near', 'id_ref'] - means['near', 'id_gt'])
    assert found['coverage'] == {m: {'n': 4, 'missing': [], 'failed': {}} for m in ('near', 'far')}
    assert found['intervals']['drawn_again'] == 'people'
    text = capsys.readouterr().out
    assert 'lpips: not measured: give --lpips_weights (vgg16' in text and 'n 4, missing 0, failed 0' in text
    landmarks = found['measures']['lmd']
    assert landmarks['network'] == 'face-api, 68 points' and means['near', 'lmd'] < means['far', 'lmd']
    for column in ('lpips', 'fid, musiq', 'niqe', 'id_wrong'):
        assert found['not_measured'][column].startswith('not measured: ')


def test_missing_and_broken_photos_are_counted_by_name(folder):
    Path('near/00000_00.png').unlink()
    Path('near/00001_00.png').write_bytes(Path('near/00001_00.png').read_bytes()[:100])
    write(Path('near/00002_00.png'), photo(2, 24))
    Path('refs/00003r.png').unlink()
    with open('map.csv', 'a') as file:
        file.write('\n00009.png,00009.png,"[\'00000r.png\']"')
    found = evaluate('--mapping', 'map.csv', '--refs', 'refs')
    near = found['coverage']['near']
    assert near['n'] == 1 and near['missing'] == ['00000'] and set(near['failed']) == {'00001', '00002'}
    assert 'not a readable image' in near['failed']['00001']
    assert 'is 24x24, the ground truth 48x48' in near['failed']['00002']
    assert found['coverage']['far']['n'] == 4 and found['differences'][0]['psnr']['n'] == 1
    assert {Path(p).name for p in found['test_set']['missing']} == {'00003r.png', '00009.png'}
    status = {(r['method'], r['image']): r['status'] for r in rows('images')}
    assert status['near', '00000'] == 'missing' and status['near', '00001'] == 'failed' and len(status) == 8


def test_people_masks_and_wrong_references_by_folders(folder, identity_weights):
    Path('people.csv').write_text('image,identity\n' + '\n'.join(f'{n},p' for n in NAMES[:3]) + f'\n{NAMES[3]},q')
    for i, name in enumerate(NAMES):
        write(Path(f'wrong/{name}/0.png'), photo(i + 30))
        write(Path(f'masks/{name}.png'), np.tril(np.full((SIZE, SIZE), 255, np.uint8)))
        shutil.copy(f'refs/{name}r.png', f'refs/{name}.png')
    names = ['--refs', 'refs', '--id_protocol', 'mobilefacenet', '--id_weights', identity_weights]
    found = evaluate(*names, '--people', 'people.csv', '--wrong', 'wrong', '--regions', 'masks')
    assert found['means']['near']['id_wrong']['n'] == 4 and found['means']['near']['detail']['groups'] == 2
    oval = evaluate(*names)['means']['near']['detail']['mean']
    assert found['means']['near']['detail']['mean'] != oval


def test_size_brings_the_ground_truth_only(folder):
    """FFHQ's photos have 1024 pixels; restored ones are never resized."""
    for i, name in enumerate(NAMES):
        write(Path(f'gt/{name}.png'), photo(i, 96))
    assert evaluate()['coverage']['near']['n'] == 0
    found = evaluate('--size', str(SIZE))
    assert found['coverage']['near']['n'] == 4 and found['means']['near']['psnr']['mean'] > 15


def test_without_ground_truth(folder, identity_weights):
    for name in NAMES:
        shutil.copy(f'refs/{name}r.png', f'refs/{name}.png')
    names = ['--id_protocol', 'mobilefacenet', '--id_weights', identity_weights]
    assert main([*BOTH, '--lq', 'gt', '--refs', 'refs', '--out', 'out', *names]) == 0
    found = json.loads(Path('out/summary.json').read_text())
    assert found['not_measured']['psnr, ssim'] == 'not measured: there is no ground truth'
    assert found['means']['near']['id_ref']['n'] == 4 and found['means']['near']['id_gt']['n'] == 0


def test_lpips_by_its_file(folder, squeeze_weights):
    found = evaluate('--lpips_net', 'squeeze', '--lpips_weights', squeeze_weights)
    assert found['measures']['lpips']['net'] == 'squeeze' and found['means']['near']['lpips']['mean'] > 0


# ---------------------------------------------------------------- wrong input
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'give either --opt'),
        (['--pred', 'near', '--opt', 'x.yml'], 'give either --opt'),
        (['--opt', 'x.yml', '--gt', 'gt', '--name', 'x'], '--gt, --name: not with --opt'),
        (['--pred', 'far', '--gt', 'gt', '--import', 'mine'], '--import: not with --pred'),
        (['--opt', 'x.yml'], 'option file not found: x.yml'),
        (['--pred', 'far', '--gt', 'gt', '--seed', '-1'], '--seed: must be a whole number of at least 0, got -1'),
        (['--pred', 'far'], 'give --gt, or --lq'),
        (['--pred', 'gone', '--gt', 'gt'], '--pred: there is no folder gone'),
        (['--pred', 'far', '--gt', 'gone'], '--gt: there is no folder gone'),
        (['--pred', 'near', '--gt', 'gt'], 'none called as one of the test set (00000 ...); see --pred_suffix'),
        (['--pred', 'far', 'far', '--gt', 'gt'], 'name every method once'),
        (['--pred', 'far', '--gt', 'gt', '--mapping', 'bad.csv'], 'bad.csv:2: ref_image must be a list'),
        (['--pred', 'far', '--gt', 'gt', '--mapping', 'up.csv'], "'../x.png' must be a file name inside"),
        (['--pred', 'far', '--gt', 'gt', '--mapping', 'twice.csv'], '00000 is there twice'),
        (['--pred', 'far', '--gt', 'gt', '--mapping', 'other.csv'], 'none of its photos is there; missing: gt/a.png'),
        (['--pred', 'far', '--gt', 'gt', '--people', 'map.csv'], 'no column image, identity'),
        (['--pred', 'far', '--gt', 'gt', '--id_protocol', 'arcface'], "unknown identity protocol 'arcface'"),
        (['--pred', 'far', '--gt', 'gt', '--lpips_weights', 'gone.pth'], 'gone.pth: no such file'),
    ],
)
def test_wrong_input_is_one_line(folder, arguments, message, capsys):
    head = 'gt_image,ref_image\n'
    for name, text in {
        'bad': '00000.png,oops',
        'up': '../x.png,"[\'00000.png\']"',
        'twice': '00000.png,"[\'00001.png\']"\n00000.png,"[\'00001.png\']"',
        'other': 'a.png,"[\'00000.png\']"',
    }.items():
        Path(f'{name}.csv').write_text(head + text)
    assert main([*arguments, '--out', 'out']) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1 and message in lines[0]
    assert not Path('out').exists()


# ---------------------------------------------------------------- running a model
@pytest.fixture
def model_options(folder) -> Path:
    opt = shrink(replace_files(load_options(SHIPPED / 'test/refstar_gfpgan_128.yml'), folder / 'files'))
    opt['datasets'].pop('test_2')
    opt['datasets']['test_1']['max_images'] = 4
    Path('x.yml').write_text(json.dumps(opt))
    return Path('x.yml')


def test_model_is_scored_as_by_basicsr_test(model_options, capsys):
    assert main(['--opt', 'x.yml', '--out', 'out', '--resamples', '100']) == 0
    found = json.loads(Path('out/lfw_test/summary.json').read_text())
    assert list(found['means']) == ['right', 'none', 'wrong'] and len(found['differences']) == 3
    assert found['test_set']['degraded_photos'].startswith('synthesised, ffhq_ref_severe ranges, seed 0')
    assert found['test_set']['people'] == 4 and found['intervals']['drawn_again'] == 'people'
    from refstar.tools.test import main as test

    logger.initialized_logger.clear()
    assert test(['-opt', 'x.yml']) == 0
    wanted = json.loads(next(Path('results').glob('*/metrics_lfw_test.json')).read_text())['arms']
    for arm, figures in wanted.items():
        for column, value in figures.items():
            assert found['means'][arm][column]['mean'] == pytest.approx(value, abs=1e-6), (arm, column)
    assert main(['--opt', 'x.yml', '--out', 'out', '--lpips_weights', 'gone.pth']) == 2  # told before anything is run
    assert not list(Path('out').glob('*_archived_*'))
    # the folders it left are scored alike, and an earlier run is kept
    root = 'out/lfw_test'
    same = ['--gt', f'{root}/gt', '--refs', f'{root}/refs', '--people', f'{root}/people.csv', '--down', '8']
    assert main(['--pred', f'right={root}/restored/right', *same, '--out', 'again', '--resamples', '100']) == 0
    again = json.loads(Path('again/summary.json').read_text())
    assert again['means']['right']['psnr'] == found['means']['right']['psnr']
    assert main(['--opt', 'x.yml', '--arms', 'none', '--out', 'out', '--resamples', '100']) == 0
    assert list(json.loads(Path('out/lfw_test/summary.json').read_text())['means']) == ['none']
    assert len(list(Path('out').glob('lfw_test_archived_*/report.html'))) == 1


def test_existing_model_with_references_is_scored(folder):
    metrics = {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}, 'iou': {'type': 'calculate_mask_iou'}}
    network = {'type': 'RefSTAR', 'size': 32, 'backbone': BACKBONES['RRDBNet'], 'refsel': {'size': 32, 'channels': 8}}
    people = {'type': 'SyntheticFaceDataset', 'name': 'people', 'gt_size': 32, 'num_refs': 2, 'seed': 0}
    people |= {'photos_per_identity': 3, 'identities': 2, 'degradation': {'preset': 'gfpgan', 'noise_range': 0}}
    opt = {'name': 'existing', 'model_type': 'RefSRModel', 'scale': 1, 'num_gpu': 0, 'manual_seed': 0}
    opt |= {'network_g': {**network, 'ref_channels': 8, 'value_range': [0, 1]}, 'datasets': {'test_1': people}}
    opt |= {'path': {'pretrain_network_g': None}, 'val': {'save_img': False, 'suffix': None, 'metrics': metrics}}
    Path('x.yml').write_text(json.dumps(opt))
    assert main(['--opt', 'x.yml', '--out', 'out', '--resamples', '50']) == 0
    found = json.loads(Path('out/people/summary.json').read_text())
    source = 'synthesised, gfpgan ranges with noise_range 0, seed 0, scaled from 512 to 32 px'
    assert found['test_set']['degraded_photos'] == source
    assert found['test_set']['people'] == 2 and found['means']['wrong']['psnr']['n'] == 6
    assert found['intervals']['caution'].startswith('Only 2 people')
    assert 'calculate_mask_iou' in found['not_measured']['iou'] and 'psnr' not in found['not_measured']


def test_model_without_references_is_refused(model_options, capsys):
    opt = load_options('x.yml')
    network = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 1}
    opt.update(model_type='SRModel', scale=1, network_g=network)
    opt['val'] = {'save_img': False}
    Path('x.yml').write_text(json.dumps(opt))
    assert main(['--opt', 'x.yml', '--out', 'out']) == 2
    assert 'model_type SRModel: restores no photos with references' in capsys.readouterr().err


# ---------------------------------------------------------------- the report
def test_report_is_escaped_and_self_contained(folder):
    evaluate('--lq', 'gt', '--mapping', 'map.csv', '--refs', 'refs', '--name', '<b>odd & name</b>')
    page = Path('out/report.html').read_text()
    assert '&lt;b&gt;odd &amp; name' in page and '<b>odd' not in page
    cards = page.split('<article')[1:]
    assert [name in card for name, card in zip(NAMES, cards, strict=True)] == [True] * 4
    assert all(re.findall('alt="(.*?)"', card) == ['LQ', 'reference', 'near', 'far', 'GT'] for card in cards)
    assert all(card.count('data-large="data:image/jpeg') == 5 for card in cards)
    assert '://' not in page


def test_many_pictures_lie_beside_the_report(folder, monkeypatch):
    monkeypatch.setattr('refstar.evaluation.evaluation_report.EMBEDDED', 100)
    evaluate()
    assert len(list(Path('out/pictures').glob('*.jpg'))) == 12  # two methods and the ground truth
    assert 'data-large="pictures/0_0.jpg"' in Path('out/report.html').read_text()


def test_report_sorts_and_shows_large_pictures(folder):
    evaluate()
    with chromium() as browser:
        page = browser.new_page()
        page.goto(Path('out/report.html').absolute().as_uri())
        page.select_option('#column', 'psnr')
        page.select_option('#subject', label='far')
        values = {r['image']: float(r['psnr']) for r in rows('images') if r['method'] == 'far'}
        worst_first = sorted(values, key=values.get)
        assert page.locator('.card > b').all_inner_texts() == worst_first
        assert f'{values[worst_first[0]]:.2f}' in page.locator('.card').first.inner_text()
        page.click('.card >> nth=0')
        page.keyboard.press('ArrowRight')
        assert page.locator('dialog .bar b').inner_text() == f'{worst_first[1]} (2 of 4)'
        page.keyboard.press('Escape')
        page.fill('#search', NAMES[2])
        assert page.locator('.card > b').all_text_contents() == [NAMES[2]]
