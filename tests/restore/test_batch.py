"""The command `refstar restore` on files and folders."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import runs
from helpers.restoring import SIZE, picture, restore, save
from PIL import Image

from refstar.restore.restorer import Restorer
from refstar.utils.image_files import read_picture


def test_broken_files_are_reported_others_restored(tmp_path, net, capsys):
    photos, refs, out = tmp_path / 'in put', tmp_path / 'réfs', tmp_path / 'out'
    for i, name in enumerate(('a b.png', 'ü.jpg', 'c.png', 'c.jpg')):
        save(photos / name, picture(i))
    save(photos / 'big.png', picture(5, 64, 64))
    save(photos / 'grey.png', picture(7)[..., 0])
    save(photos / 'wide.png', picture(8, SIZE, 40))
    for name, data in {'cut.png': (photos / 'c.png').read_bytes()[:-40], 'empty.jpg': b'', 'text.webp': b'x'}.items():
        (photos / name).write_bytes(data)
    save(refs / '0.png', picture(20))
    before = runs.files_under(photos) | runs.files_under(refs)
    flags = ['--aligned', '-n', net, '--suffix', '_r', '--report', '--batch_size', 3]
    assert restore('-i', photos, '-r', refs, '-o', out, *flags) == 1
    assert runs.files_under(photos) | runs.files_under(refs) == before
    assert {p.name for p in tmp_path.iterdir()} == {'in put', 'réfs', 'out'}
    restored = {p.name for p in out.iterdir() if p.suffix not in ('.json', '.html')}
    assert restored == {'a b_r.png', 'ü_r.jpg', 'c_png_r.png', 'c_jpg_r.jpg', 'big_r.png', 'grey_r.png'}
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if 'error: ' in line]
    assert len(errors) == 4 and all(any(name in line for line in errors) for name in ('cut', 'empty', 'text', 'wide'))
    assert '6 restored (6 faces), 4 failed' in said.out
    page = (out / 'report.html').read_text()
    assert page.count('<h2>') == 6 and page.count('class="bad"') == 4 and 'http' not in page
    with Image.open(out / 'grey_r.png') as grey:
        assert grey.mode == 'L'


def test_record_masks_and_faces_are_written(tmp_path, net):
    photo, out = save(tmp_path / 'a.png', picture(0)), tmp_path / 'out'
    refs = [save(tmp_path / f'refs/{i}.png', picture(20 + i)) for i in range(3)]
    flags = ['--aligned', '-n', net, '--save_mask', '--save_faces', '--num_refs', 2, '-w', 0.9]
    assert restore('-i', photo, '-r', *refs, '-o', out, *flags) == 0
    record = json.loads((out / 'a.json').read_text())
    face = record['faces'][0]
    assert record['strength'] == 0.9 and len(face['references']) == 2 and len(face['dropped']) == 1
    assert {'name', 'score', 'why', 'similarity', 'selected', 'share_of_face'} <= set(face['references'][0])
    assert 0 < face['from_references'] <= 0.9
    used = [ref['name'].split('/')[-1][0] for ref in face['references']]
    masks = {p.name for p in (out / 'masks/a_00').iterdir()}
    assert masks == {'attribution.png'} | {f'{i}{end}' for i in used for end in ('.png', '_overlay.jpg')}
    assert {p.name for p in (out / 'faces').iterdir()} == {'a_00_before.png', 'a_00_restored.png'}


def test_references_by_the_name_of_the_photo(tmp_path, net, capsys):
    for name in ('a', 'b', 'c'):
        save(tmp_path / f'in/{name}.png', picture(0))
    save(tmp_path / 'refs/a.jpg', picture(1))
    for i in range(2):
        save(tmp_path / f'refs/b/{i}.png', picture(2 + i))
    flags = ['-o', tmp_path / 'out', '-n', net, '--aligned', '--refs_by_name', '--on_wrong_identity', 'warn']
    assert restore('-i', tmp_path / 'in', '-r', tmp_path / 'refs', *flags) == 1
    assert 'c.png: no reference of this name in' in capsys.readouterr().err
    for name, expected in (('a', ['a.jpg']), ('b', ['0.png', '1.png'])):
        face = json.loads((tmp_path / f'out/{name}.json').read_text())['faces'][0]
        assert sorted(ref['name'].split('/')[-1] for ref in face['references']) == expected
    assert restore('-i', tmp_path / 'in', '-r', tmp_path / 'refs/a.jpg', *flags) == 2
    assert 'a.jpg: no such folder' in capsys.readouterr().err


def test_what_of_a_folder_is_left_alone_is_named(tmp_path, net, capsys):
    """Systems' own files are no photos, and not worth a word; what the user may have meant is named."""
    for folder in ('in', 'refs'):
        for name in ('a.png', '._a.png', '.git/b.png', '@eaDir/c.png', '__MACOSX/d.png'):
            save(tmp_path / folder / name, picture(1))
        for name in ('a.json', 'Thumbs.db', 'letter.pdf', 'raw.CR2'):
            (tmp_path / folder / name).write_bytes(b'x')
    save(tmp_path / 'in/older/e.png', picture(2))
    assert restore('-i', tmp_path / 'in', '-r', tmp_path / 'refs', '-o', tmp_path / 'out', '-n', net, '--aligned') == 0
    said = capsys.readouterr().out
    lines = [line.partition(': ')[2] for line in said.splitlines() if 'left alone' in line]
    end = ' (no photo or video that can be read)'
    assert lines == [f'left alone: letter.pdf, older/, raw.CR2{end}', f'left alone: letter.pdf, raw.CR2{end}']
    assert 'refs: 1 good photo' in said and '1 restored (1 faces), 0 failed' in said
    record = json.loads((tmp_path / 'out/a.json').read_text())
    assert [Path(ref['name']).name for ref in record['faces'][0]['references']] == ['a.png']


@pytest.mark.parametrize(
    ('refs', 'flags', 'output'),
    [
        (['refs'], ['--refs_by_name'], 'refs'),
        (['refs'], [], 'refs'),
        (['refs/b.png', 'refs/a.png'], [], 'refs'),
        (['refs'], ['--refs_by_name', '--suffix', '_r'], 'refs'),  # written for a, a reference of a_r
    ],
)
def test_references_are_not_overwritten(refs, flags, output, tmp_path, net, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(('in/a', 'in/a_r', 'refs/a', 'refs/b', 'refs/a_r', 'refs/a/a', 'refs/a/a_r')):
        save(tmp_path / f'{name}.png', picture(i))
    before = runs.files_under(tmp_path)
    assert restore('-i', 'in', '-r', *refs, '-o', output, '-n', net, '--aligned', *flags) == 2
    assert re.search(r'error: refs/.*\.png: would be overwritten', capsys.readouterr().err)
    assert runs.files_under(tmp_path) == before


def test_failing_batch_is_restored_one_by_one(tmp_path, net, capsys, monkeypatch):
    """Three faces are too many at a time and one fails alone too: it is named, the others are done."""
    for i, name in enumerate('abc'):
        save(tmp_path / f'in/{name}.png', picture(i))
    original = Restorer.restore

    def restore_little(self, faces, settings):
        if len(faces) > 2:
            raise MemoryError('too many')
        if (faces[0].crop == picture(1)).all():
            raise RuntimeError('bad face')
        return original(self, faces, settings)

    monkeypatch.setattr(Restorer, 'restore', restore_little)
    assert restore('-i', tmp_path / 'in', '-o', tmp_path / 'out', '-n', net, '--aligned', '--batch_size', 3) == 1
    said = capsys.readouterr()
    assert 'b.png: RuntimeError: bad face' in said.err and '3 faces at a time failed (MemoryError' in said.err
    assert '2 restored (2 faces), 1 failed' in said.out
    assert {path.name for path in (tmp_path / 'out').glob('*.png')} == {'a.png', 'c.png'}


def test_inputs_of_one_name_are_numbered(tmp_path, net):
    names = ('x/a.png', 'y/a.png', 'x/a.jpg', 'x/a_png.png')
    photos = [save(tmp_path / name, picture(i)) for i, name in enumerate(names)]
    assert restore('-i', *photos, '-o', tmp_path / 'out', '-n', net, '--aligned') == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / 'out').glob('*.json')]
    outputs = {record['input']: record['output'] for record in records}
    assert [outputs[str(photo)] for photo in photos] == ['a_png.png', 'a_png_2.png', 'a_jpg.jpg', 'a_png_3.png']


def test_several_inputs_and_gif_files_are_read(tmp_path, net, capsys):
    photo, folder = save(tmp_path / 'a.png', picture(0)), tmp_path / 'gifs'
    save(folder / 'b.gif', picture(1))
    save(tmp_path / 'anna/r.gif', picture(2))
    flags = ['-r', tmp_path / 'anna', '-o', tmp_path / 'out', '-n', net, '--aligned']
    assert restore('-i', photo, folder, photo, *flags) == 0
    assert {path.name for path in (tmp_path / 'out').glob('*.png')} == {'a.png', 'b.png'}
    assert 'anna: 1 good photo\n' in capsys.readouterr().out


def test_edited_masks_are_read_back(tmp_path, net):
    photo, ref = save(tmp_path / 'a.png', picture(0)), save(tmp_path / 'refs/r.png', picture(1))
    plain, masked = tmp_path / 'plain', tmp_path / 'masked'
    assert restore('-i', photo, '-o', plain, '-n', net, '--aligned') == 0
    save(tmp_path / 'hand/a_00/r.png', np.zeros((SIZE, SIZE), np.uint8))
    save(tmp_path / 'hand/r.png', np.full((SIZE, SIZE), 255, np.uint8))  # of the reference in general: comes second
    flags = ['-n', net, '--aligned', '--ref_mask_dir', tmp_path / 'hand', '--save_mask', '--on_wrong_identity', 'warn']
    assert restore('-i', photo, '-r', ref, '-o', masked, *flags) == 0
    assert (read_picture(masked / 'a.png').rgb == read_picture(plain / 'a.png').rgb).all()
    (tmp_path / 'hand/a_00/r.png').unlink()
    assert restore('-i', photo, '-r', ref, '-o', masked, *flags) == 0
    assert (read_picture(masked / 'masks/a_00/r.png').rgb == 255).all()
    save(tmp_path / 'hand/r.png', np.zeros((SIZE, 40), np.uint8))
    assert restore('-i', photo, '-r', ref, '-o', masked, *flags) == 1


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['-i', 'gone.png'], 'gone.png: no such file or folder'),
        (['-i', 'empty'], 'empty: holds no photo or video'),
        (['-r', 'gone'], 'references: gone: no such file or folder'),
        (['-r', 'gone', '--refs_by_name'], 'references: gone: no such file or folder'),
        (['-r', 'empty'], 'references: empty: holds no photo'),
        (['-r', 'text.png'], 'no usable photo of .*text.png: is not a readable image'),
        (['-n', 'gone.pth'], 'gone.pth: no such file'),
        (['-n', 'GFPGANv1.4'], '-n GFPGANv1.4: GFPGAN takes no references: leave -n out'),
        (['-n', 'code_former.pth'], 'CodeFormer takes no references'),
        (['-n', 'realesr-gan-x4v3.pth'], '--bg_upsampler realesrgan'),
        (['--unmatched', 'drop'], 'invalid choice'),
        (['--min_face', '-1'], 'at least 0'),
        (['--ext', 'xyz'], '--ext xyz: unknown'),
        (['--ref_mask_dir', 'gone'], '--ref_mask_dir gone: no such folder'),
        (['--suffix', '/../x'], 'must not hold a path'),
        (['-o', '.'], 'a.png: would be overwritten'),
        (['-s', '99'], '--upscale must be 0.1 to 16'),
        (['--bg_upsampler', 'realesrgan'], 'no weights file is configured'),
        (['--batch_size', '0'], '--batch_size: must be a whole number of at least 1'),
        (['--device', 'cuda'], 'there is no GPU'),
        (['--detector', 'gone.onnx'], 'gone.onnx: no such file'),
        (['--identity_weights', 'gone.pt'], 'gone.pt: no such file'),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(args, message, tmp_path, net, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'a.png', picture(0))
    (tmp_path / 'text.png').write_text('hello')
    (tmp_path / 'empty').mkdir()
    before = runs.files_under(tmp_path)
    assert restore('-i', 'a.png', '-o', 'out', '-n', net, '--aligned', *args) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and re.search(message, errors[0]), errors
    assert runs.files_under(tmp_path) == before


def test_whole_photos_of_real_people_need_no_other_file(tmp_path, faces_root):
    """The network, the detector and the identity network ship: the person's photo is used, a stranger's is not."""
    person, smiling, stranger = (
        faces_root / f'london_512/london_{name}.jpg' for name in ('003/01', '003/02', '005/02')
    )
    scene = np.full((600, 900, 3), 90, np.uint8)
    scene[60:572, 200:712] = read_picture(person).rgb
    save(tmp_path / 'in/photo.png', scene)
    for name, ref in (('right', smiling), ('wrong', stranger)):
        assert restore('-i', tmp_path / 'in', '-r', ref, '-o', tmp_path / name) == 0
        (face,) = json.loads((tmp_path / name / 'photo.json').read_text())['faces']
        assert (face['probability'] > 0.9) == (name == 'right') and (face['probability'] < 0.1) == (name == 'wrong')
        assert len(face['references']) == (name == 'right')
        assert read_picture(tmp_path / name / 'photo.png').rgb.shape == scene.shape


def test_every_note_is_printed_once(tmp_path, net, capsys):
    """Two photos whose faces are larger than the network draws; nothing compares people."""
    for name in 'ab':
        save(tmp_path / f'in/{name}.png', picture(0, 64, 64))
    save(tmp_path / 'anna/r.png', picture(1))
    flags = ['-r', tmp_path / 'anna', '-o', tmp_path / 'out', '-n', net, '--aligned', '--timing']
    assert restore('-i', tmp_path / 'in', *flags) == 0
    said = capsys.readouterr().out.splitlines()
    notes = json.loads((tmp_path / 'out/b.json').read_text())['faces'][0]['notes']
    assert len(notes) == 2 and 'larger than the 32 x 32 pixels' in notes[1]
    for note in notes:
        assert [line for line in said if note in line] == [f'a.png: {note}', f'2 photos: {note}']
    assert all(stage in said[-1] for stage in ('open', 'read', 'encode', 'restore', 'write'))


def test_weights_of_other_projects_are_answered(tmp_path, capsys):
    photo = save(tmp_path / 'a.png', picture(0))
    torch.save({'params_ema': {'x': torch.zeros(1)}}, tmp_path / 'GFPGANv1.4.pth')
    assert restore('-i', photo, '-o', tmp_path / 'out', '-n', tmp_path / 'GFPGANv1.4.pth') == 2
    assert 'GFPGAN takes no references' in capsys.readouterr().err
