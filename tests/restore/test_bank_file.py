"""Reference banks: equal to the photos, refused where they do not fit, safe if untrusted."""

import json

import numpy as np
import pytest
import torch
from helpers.restoring import hue_checker, network, network_file, picture, restore, save

from refstar import RefStarError
from refstar.restore.bank_file import FORMAT, MAX_REFERENCES, write_bank
from refstar.restore.restorer import Restorer
from refstar.tools.cli import main
from refstar.utils.checkpoint import load_tensors, save_tensors


@pytest.fixture(scope='module')
def checked() -> Restorer:
    return Restorer(network(), identity_checker=hue_checker())


@pytest.fixture
def bank(checked, tmp_path):
    """A bank of two photos, and the photos."""
    photos = [picture(1, hue=0), picture(2, hue=0)]
    person = checked.people(photos)[0]
    write_bank(tmp_path / 'alice.refbank', person, checked.net, checked.device)
    return tmp_path / 'alice.refbank', photos


def test_bank_equals_the_photos(checked, bank):
    path, photos = bank
    for number in range(3):
        lq = picture(10 + number, hue=0)
        by_photos, by_bank = checked(lq, photos), checked(lq, path)
        assert (by_photos.image == by_bank.image).all()
        np.testing.assert_array_equal(by_photos.attribution, by_bank.attribution)
        assert [c.score for c in by_bank.chosen] == pytest.approx([c.score for c in by_photos.chosen])
        assert by_bank.identity.same and by_bank.identity.similarity == pytest.approx(by_photos.identity.similarity)
    assert checked(picture(9, hue=1), path, on_wrong_identity='drop').chosen == []


def test_bank_is_not_encoded_again(checked, bank, monkeypatch):
    people = checked.people(bank[0])
    monkeypatch.setattr(type(checked.net), 'encode', lambda *args, **kwargs: pytest.fail('was encoded'))
    assert len(checked(picture(0, hue=0), people).chosen) == 2


def test_bank_of_another_network_is_refused(checked, bank, tmp_path):
    path, _ = bank
    tensors, header = load_tensors(path)
    with pytest.raises(RefStarError, match='was made by another network; make it again'):
        Restorer(network(seed=1), identity_checker=hue_checker()).people(path)
    with pytest.raises(RefStarError, match='no such file'):
        checked.people(tmp_path / 'gone.refbank')
    save_tensors(tensors, header | {'refbank': 'refstar.refbank.0'}, tmp_path / 'old.refbank')
    with pytest.raises(RefStarError, match=f'not a reference bank of format {FORMAT}'):
        checked.people(tmp_path / 'old.refbank')


def broken(tensors: dict, header: dict):
    """Yield banks with wrong tensors or a wrong header."""
    for name, x in tensors.items():
        yield {key: value for key, value in tensors.items() if key != name}, header
        yield tensors | {name: x[..., :-1].contiguous()}, header
        yield tensors | {name: x.to(torch.int32 if x.is_floating_point() else torch.float32)}, header
        if x.is_floating_point():
            yield tensors | {name: x * float('nan')}, header
    for about in ('', '[]', '{"references": []}', '{"references": [{}], "person": "x"}', '{"person": ' + '[' * 100_000):
        yield tensors, header | {'about': about}
    for points in ('[[1, 2]]', '"x"', str([[10**400, 1]] * 5), str([[float('nan'), 1]] * 5)):
        yield tensors, header | {'about': header['about'].replace('"points": null', f'"points": {points}', 1)}
    for name in ('person', 'name'):
        yield tensors, header | {'about': header['about'].replace(f'"{name}": ', f'"{name}": 7, "a": ', 1)}
    about = {'person': 'x', 'references': [{'name': 'a.png', 'points': None}] * (MAX_REFERENCES + 1)}
    yield tensors, header | {'about': json.dumps(about)}


def test_broken_banks_are_one_clear_error(checked, bank, tmp_path):
    tensors, header = load_tensors(bank[0])
    other = tmp_path / 'broken.refbank'
    for number, (parts, head) in enumerate(broken(tensors, header)):
        save_tensors(parts, head, other)
        with pytest.raises(RefStarError, match=r'broken\.refbank'):
            checked.people(other)
            pytest.fail(f'variant {number} was taken')
    data = bank[0].read_bytes()
    for cut in (0, 8, 100, len(data) - 1):
        other.write_bytes(data[:cut])
        with pytest.raises(RefStarError, match=r'broken\.refbank'):
            checked.people(other)


def test_untrusted_values_in_a_bank_are_not_used(checked, bank, tmp_path):
    """Embeddings and traits are those of the crops, and names are text that a terminal can show."""
    tensors, header = load_tensors(bank[0])
    about = json.loads(header['about'])
    about['person'] = 'al\x1b[31mice\n'
    for one in about['references']:
        one |= {'name': '\x1b]0;x\x07\u202egnp.png', 'traits': {'light': [float('nan')], 'sharpness': float('nan')}}
    wrong = torch.full((2, 3), 50.0)
    save_tensors(tensors | {'embeddings': wrong}, header | {'about': json.dumps(about)}, tmp_path / 'evil.refbank')
    people = checked.people(tmp_path / 'evil.refbank')
    assert people[0].name == 'al_[31mice_'
    assert [ref.name for ref in people[0].references] == [f'evil.refbank/_]0;x__gnp.png{end}' for end in ('', ' (2)')]
    by_photos = checked(picture(5, hue=0), bank[1])
    found = checked(picture(5, hue=0), people)
    assert found.identity.similarity == pytest.approx(by_photos.identity.similarity)
    assert [c.terms for c in found.chosen] == [pytest.approx(c.terms) for c in by_photos.chosen]


def test_bank_command(tmp_path, capsys):
    flags, photos, bank = (
        ['--aligned', '-n', str(network_file(tmp_path))],
        tmp_path / 'photos/alice',
        tmp_path / 'alice.refbank',
    )
    for i in range(5):
        save(photos / f'{i}.png', picture(i))
    save(photos / 'copy.png', picture(0))
    save(tmp_path / 'lq.png', picture(9))
    assert main(['bank', 'build', str(photos), '-o', str(bank), '--num_refs', '4', *flags]) == 0
    said = capsys.readouterr().out
    assert '4 references of alice' in said and 'the same photo as' in said
    assert (
        restore('-i', tmp_path / 'lq.png', '-r', bank, '-o', tmp_path / 'out', '--on_wrong_identity', 'warn', *flags)
        == 0
    )
    assert (tmp_path / 'out/lq.json').read_text().count('alice.refbank/') >= 4


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['photos', '-o', 'x.pt'], 'ends with .refbank'),
        (['photos', '-o', 'x.refbank', '--num_refs', '65'], '--num_refs must be 1 to 64'),
        (['gone', '-o', 'x.refbank'], 'gone: no such file or folder'),
    ],
)
def test_bank_command_refuses_wrong_input(args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'photos/a.png', picture(0))
    assert main(['bank', 'build', *args]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob('x.*'))
