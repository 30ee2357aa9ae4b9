"""Reference banks: the same result as the photos give, refused where they do not fit, safe whatever is in them."""

import numpy as np
import pytest
import runs
import torch
from restoring import hue_guard, network, network_file, picture, save

from refstar import RefStarError
from refstar.checkpoint import load_tensors, save_tensors
from refstar.tools.cli import main
from refstar.tools.restoration.bank import FORMAT, write_bank
from refstar.tools.restoration.restorer import Restorer


@pytest.fixture(scope='module')
def guarded() -> Restorer:
    return Restorer(network(), guard=hue_guard())


@pytest.fixture
def bank(guarded, tmp_path):
    """A bank of two photos, and the photos."""
    photos = [picture(1, hue=0), picture(2, hue=0)]
    person = guarded.people(photos)[0]
    write_bank(tmp_path / 'alice.refbank', person, guarded.net, guarded.guard, guarded.device)
    return tmp_path / 'alice.refbank', photos


def test_a_bank_gives_what_the_photos_give(guarded, bank):
    path, photos = bank
    for number in range(3):
        lq = picture(10 + number, hue=0)
        by_photos, by_bank = guarded(lq, photos), guarded(lq, path)
        assert (by_photos.image == by_bank.image).all()
        np.testing.assert_array_equal(by_photos.attribution, by_bank.attribution)
        assert [c.score for c in by_bank.chosen] == pytest.approx([c.score for c in by_photos.chosen], abs=1e-3)
        assert by_bank.identity.same and by_bank.identity.similarity == pytest.approx(by_photos.identity.similarity)
    assert guarded(picture(9, hue=1), path, on_wrong_identity='drop').chosen == []


def test_a_bank_is_not_encoded_again(guarded, bank, monkeypatch):
    people = guarded.people(bank[0])
    monkeypatch.setattr(type(guarded.net), 'encode', lambda *args, **kwargs: pytest.fail('was encoded'))
    assert len(guarded(picture(0, hue=0), people).chosen) == 2


def test_a_bank_without_embeddings_is_checked_all_the_same(guarded, tmp_path):
    free = Restorer(guarded.net)
    write_bank(tmp_path / 'x.refbank', free.people([picture(1, hue=0)])[0], free.net, None, free.device)
    assert guarded(picture(5, hue=0), tmp_path / 'x.refbank').identity.same
    assert guarded(picture(5, hue=1), tmp_path / 'x.refbank').identity.same is False
    assert free(picture(5, hue=1), tmp_path / 'x.refbank').identity.same is None


def test_banks_that_do_not_fit_are_refused(guarded, bank, tmp_path):
    path, _ = bank
    tensors, header = load_tensors(path)
    with pytest.raises(RefStarError, match='was made by another network; make it again'):
        Restorer(network(seed=1), guard=hue_guard()).people(path)
    with pytest.raises(RefStarError, match='no such file'):
        guarded.people(tmp_path / 'gone.refbank')
    save_tensors(tensors, header | {'refbank': 'refstar.refbank.0'}, tmp_path / 'old.refbank')
    with pytest.raises(RefStarError, match=f'not a reference bank of format {FORMAT}'):
        guarded.people(tmp_path / 'old.refbank')


def broken(tensors: dict, header: dict):
    """Banks that somebody has tampered with: (tensors, header)."""
    for name, x in tensors.items():
        yield {key: value for key, value in tensors.items() if key != name}, header
        yield tensors | {name: x[..., :-1].contiguous()}, header
        yield tensors | {name: x.to(torch.int32 if x.is_floating_point() else torch.float32)}, header
        if x.is_floating_point():
            yield tensors | {name: x * float('nan')}, header
    for about in ('', '{', '[]', 'null', '{"references": []}', '{"references": [{}], "person": "x"}'):
        yield tensors, header | {'about': about}
    yield tensors, header | {'about': header['about'].replace('"light"', '"dark"')}
    yield tensors, header | {'about': header['about'].replace('"sharpness": ', '"sharpness": "x", "a": ')}


def test_broken_banks_are_one_clear_error(guarded, bank, tmp_path):
    path, _ = bank
    tensors, header = load_tensors(path)
    other = tmp_path / 'broken.refbank'
    for number, (parts, head) in enumerate(broken(tensors, header)):
        save_tensors(parts, head, other)
        with pytest.raises(RefStarError, match=r'broken\.refbank'):
            guarded.people(other)
            pytest.fail(f'variant {number} was taken')
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for cut in (0, 1, 8, 100, len(data) // 2, len(data) - 1):
        other.write_bytes(data[:cut])
        with pytest.raises(RefStarError, match=r'broken\.refbank'):
            guarded.people(other)
    for _ in range(60):  # changed bytes of the header: an error, or a bank that was not hurt
        changed = bytearray(data)
        for at in rng.integers(0, 1500, 3):
            changed[at] = rng.integers(256)
        other.write_bytes(changed)
        try:
            guarded(picture(0, hue=0), other)
        except RefStarError as error:
            assert 'broken.refbank' in str(error)


def test_the_command(tmp_path, capsys):
    net = network_file(tmp_path)
    for i in range(5):
        save(tmp_path / f'photos/alice/{i}.png', picture(i))
    save(tmp_path / 'photos/alice/copy.png', picture(0))
    save(tmp_path / 'lq.png', picture(9))
    bank, flags = tmp_path / 'alice.refbank', ['-n', str(net)]
    photos = str(tmp_path / 'photos/alice')
    assert main(['bank', 'build', photos, '-o', str(bank), '--num_refs', '4', *flags]) == 0
    said = capsys.readouterr().out
    assert '4 references of alice' in said and 'the same photo as' in said
    for out, refs in (('a', bank), ('b', tmp_path / 'photos')):
        args = ['-i', tmp_path / 'lq.png', '-r', refs, '-o', tmp_path / out, '--aligned', '--num_refs', 2]
        assert main(['restore', *map(str, args), *flags]) == 0
    assert (tmp_path / 'a/lq.json').read_text().count('alice.refbank/') >= 4
    before = runs.files_under(tmp_path)
    for args, message in [
        ([photos, '-o', str(tmp_path / 'x.pt')], 'ends with .refbank'),
        ([photos, '-o', str(bank), '--num_refs', '0'], '--num_refs must be 1 to 64'),
        ([str(tmp_path / 'gone'), '-o', str(bank)], 'gone: no such file or folder'),
        ([str(tmp_path), '-o', str(bank), '--detector', 'gone.onnx'], 'gone.onnx: no such file'),
    ]:
        assert main(['bank', 'build', *args, *flags]) == 2
        assert message in capsys.readouterr().err
    assert runs.files_under(tmp_path) == before
