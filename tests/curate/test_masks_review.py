"""`refstar masks review` over HTTP: nothing acknowledged is lost or overwritten unseen, strangers are refused."""

import errno
import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import reviewing, runs
from helpers.reviewing import Client, pixels, png, provenance, sha256
from helpers.strangers import REFUSED
from starlette.testclient import TestClient

from refstar.curate.mask_review import MaskReview
from refstar.data.refsel_dataset import RefSelDataset
from refstar.tools.review.app import LARGEST, review_app
from refstar.tools.serving.guard import is_loopback
from refstar.utils.errors import RefStarError

SIZE = 48
A, B, C = '00000', '00001', '00002'
DRAWN = np.zeros((SIZE, SIZE), np.uint8)
DRAWN[8:20, 8:20] = 255
OURS = 'http://127.0.0.1:8411'


@pytest.fixture(scope='module')
def collection(tmp_path_factory) -> Path:
    return reviewing.write_collection(tmp_path_factory.mktemp('collection') / 'made', SIZE)


@pytest.fixture
def root(collection, tmp_path) -> Path:
    return shutil.copytree(collection, tmp_path / 'root')


@pytest.fixture
def review(root):
    review = MaskReview(root)
    yield review
    review.close()


@pytest.fixture
def client(review) -> Client:
    return Client(TestClient(review_app(review), base_url=OURS), OURS)


def journal(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / 'decisions.jsonl').read_text().splitlines()]


# decisions


def test_accept_edit_reject_and_undo_reach_the_files(root, review, client) -> None:
    proposed = (root / f'mask/{B}.png').read_bytes()
    assert client.decide(A, 'accept').json()['state'] == 'accepted'
    edited = client.decide(B, 'accept', png(DRAWN)).json()
    assert (edited['state'], edited['version'], edited['reviewed']) == ('edited', 1, True)
    assert np.array_equal(pixels(root, B), DRAWN) and edited['mask'] == sha256((root / f'mask/{B}.png').read_bytes())
    assert client.decide(C, 'reject').json()['counts'] == {
        'total': 6,
        'states': {'accepted': 1, 'edited': 1, 'rejected': 1, 'proposed': 2, 'propagated': 1},
        'reviewed': {'accepted': 1, 'edited': 1, 'rejected': 1},
    }
    undone = client.decide(B, 'undo').json()
    assert (undone['state'], undone['version'], undone['reviewed']) == ('proposed', 2, False)
    assert (root / f'mask/{B}.png').read_bytes() == proposed
    assert client.decide(B, 'undo').status_code == 400  # nothing is left to undo
    assert [(line['id'], line['action']) for line in journal(root)] == [
        (A, 'accept'), (B, 'accept'), (C, 'reject'), (B, 'undo')
    ]  # fmt: skip
    review.fold()
    assert provenance(root) == ['accepted', 'proposed', 'rejected', 'proposed', 'propagated', 'proposed']
    assert '"mined, no. 3"' in (root / 'meta.csv').read_text()  # the other columns stay
    for mask in (root / 'mask_history').iterdir():
        assert sha256(mask.read_bytes()).startswith(mask.stem.split('.')[1])


def test_decisions_stack_and_an_edited_mask_stays_edited(root, client) -> None:
    client.decide(A, 'accept', png(DRAWN))
    assert client.decide(A, 'accept').json()['state'] == 'edited'  # accepted as it is now: drawn by a person
    assert client.decide(A, 'reject').json()['state'] == 'rejected'
    assert client.decide(A, 'accept', png(255 - DRAWN)).json()['state'] == 'edited'
    states = []
    for _ in range(4):
        states.append((client.decide(A, 'undo').json()['state'], int(pixels(root, A)[10, 10])))
    assert [state for state, _ in states] == ['rejected', 'edited', 'edited', 'propagated']
    assert [value for _, value in states[:3]] == [255, 255, 255]
    same = pixels(root, B)
    assert client.decide(B, 'accept', png(same)).json()['state'] == 'accepted'  # sent, but not changed


def test_the_reviewed_collection_trains(root, review, client) -> None:
    client.decide(A, 'accept', png(DRAWN))
    client.decide(B, 'reject')
    client.decide(C, 'accept')
    review.fold()
    plain = dict.fromkeys(('ref_drop_prob', 'wrong_ref_prob', 'self_pair_prob', 'ref_jitter'), 0.0)
    options = {'dataroot': str(root), 'gt_size': SIZE, 'degradation': 'ffhq_ref_severe', 'use_hflip': False, **plain}
    dataset = RefSelDataset({**options, 'provenance': ['accepted', 'edited']})
    assert [name for name, _, _ in dataset.triplets] == [A, C]
    assert np.array_equal(dataset[0]['ref_mask'][0, 0].numpy() * 255, DRAWN)


def test_a_stale_decision_is_refused(root, client) -> None:
    seen = client.look(A)
    assert client.decide(A, 'reject', seen=seen).status_code == 200
    before = runs.files_under(root)
    late = client.decide(A, 'accept', png(DRAWN), seen=seen)
    assert late.status_code == 409 and 'nothing was saved' in late.json()['error']
    assert runs.files_under(root) == before
    seen = client.look(B)
    (root / f'mask/{B}.png').write_bytes(png(DRAWN))  # another program
    assert client.decide(B, 'accept', seen=seen).status_code == 409


def test_of_many_at_once_one_wins(root, client) -> None:
    seen = client.look(A)
    bodies = [png(np.full((SIZE, SIZE), value)) for value in range(0, 250, 20)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: client.decide(A, 'accept', body, seen), bodies))
    won = [i for i, answer in enumerate(answers) if answer.status_code == 200]
    assert len(won) == 1 and len(journal(root)) == 1
    assert {answer.status_code for answer in answers} == {200, 409}
    assert (pixels(root, A) == 20 * won[0]).all()


def test_a_full_disk_saves_nothing_and_says_so(root, client, monkeypatch) -> None:
    write = os.write

    def partly(file, data):  # half a line, then no space
        if data.startswith(b'{"id"'):
            return write(file, data[:40])
        if b'"time"' in data:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return write(file, data)

    monkeypatch.setattr(os, 'write', partly)
    failed = client.decide(A, 'accept', png(DRAWN))
    assert failed.status_code == 507 and 'No space left' in failed.json()['error']
    assert (root / 'decisions.jsonl').read_bytes() == b'' and client.look(A)['version'] == 0
    monkeypatch.undo()
    assert client.decide(A, 'reject').json()['version'] == 1
    assert len(journal(root)) == 1


# requests of strangers


@pytest.mark.parametrize('headers', REFUSED.values(), ids=REFUSED)
def test_a_decision_of_a_stranger_is_refused(root, client, headers) -> None:
    seen, before = client.look(A), runs.files_under(root)
    sent = {'Origin': OURS, 'Content-Type': 'image/png', 'Sec-Fetch-Site': 'same-origin', **headers}
    sent = {key: value for key, value in sent.items() if value is not None}
    address = f'/api/pairs/{A}?action=reject&version=0&mask={seen["mask"]}'
    answer = client.http.post(address, headers=sent)
    assert answer.status_code == 403 and answer.json()['error'] and runs.files_under(root) == before
    ours = {'Origin': OURS, 'Content-Type': 'image/png', 'Sec-Fetch-Site': 'same-origin'}
    assert client.http.post(address, headers=ours).status_code == 200  # the same from the page


def test_reading_is_refused_to_strangers_too(client) -> None:
    for path in ('/', '/main.js', '/api/pairs', f'/api/pairs/{A}', f'/api/pairs/{A}/gt'):
        ours = client.http.get(path, headers={'Host': 'localhost:8411', 'Sec-Fetch-Site': 'none'})
        assert ours.status_code == 200 and "default-src 'self'" in ours.headers['content-security-policy']
        for headers in ({'Host': 'evil.example'}, {'Sec-Fetch-Site': 'cross-site'}, {'Origin': 'http://evil.example'}):
            assert client.http.get(path, headers=headers).status_code == 403
    assert 'access-control-allow-origin' not in ours.headers


def test_a_token_is_needed_once(review) -> None:
    secret = 'a-secret-of-some-length'
    app = review_app(review, '192.0.2.7', secret)
    http = TestClient(app, base_url='http://192.0.2.7:80', follow_redirects=False)
    for path in ('/', '/?token=wrong', '/?token=', '/api/pairs', f'/api/pairs?token={secret}'):
        assert http.get(path).status_code == 403
    assert http.get('/', headers={'Cookie': 'refstar_review_80=wrong'}).status_code == 403
    opened = http.get(f'/?token={secret}')
    assert (opened.status_code, opened.headers['location']) == (303, '/')
    assert {'HttpOnly', 'SameSite=Strict'} <= set(opened.headers['set-cookie'].split('; '))
    assert http.get('/').status_code == 200 and len(http.get('/api/pairs').json()['pairs']) == 6


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--host', '192.0.2.7'], 'add --token'),
        (['--host', '0.0.0.0', '--token'], 'one address'),
        (['--token', 'short'], 'at least 16'),
        (['--token', 'with; a cookie=separator'], 'letters'),
        (['--port', '70000'], '65535'),
        (['--host', '192.0.2.7', '--token'], 'cannot listen'),
    ],
)
def test_wrong_arguments(root, args, message, capsys) -> None:
    from refstar.tools.masks_review import main

    handler = signal.getsignal(signal.SIGTERM)
    assert main([str(root), *args]) == 2
    signal.signal(signal.SIGTERM, handler)
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_is_loopback() -> None:
    assert [is_loopback(h) for h in ('localhost', '127.0.0.1', '127.1.2.3', '::1')] == [True] * 4
    assert [is_loopback(h) for h in ('0.0.0.0', '192.0.2.7', 'localhost.example', '')] == [False] * 4


# files and bodies


def test_files_outside_the_root_are_refused(root, client, tmp_path) -> None:
    secret = tmp_path / 'secret.png'
    secret.write_bytes(b'CONFIDENTIAL' + png(DRAWN))
    paths = [
        '/api/pairs/../../secret.png', '/api/pairs/%2e%2e%2f%2e%2e%2fsecret.png/gt', '/api/pairs/..%2f..%2fsecret/gt',
        f'/api/pairs/{A}/..%2f..%2fsecret.png', f'/api/pairs/{A}/meta', '/api/pairs//etc/passwd', '/api/pairs/%00/gt',
        '/../secret.png', '/..%2f..%2fsecret.png', '/%2e%2e/app.py', '/..%5capp.py', '/%00',
        '//etc/passwd',
    ]  # fmt: skip
    for path in paths:
        answer = client.http.get(OURS + path)
        assert answer.status_code == 404 and answer.json()['error'], path
        assert b'CONFIDENTIAL' not in answer.content
    for part in ('gt', 'ref', 'mask'):  # a link put there while the review runs
        (root / f'{part}/{A}.png').unlink()
        (root / f'{part}/{A}.png').symlink_to(secret)
        answer = client.http.get(f'/api/pairs/{A}/{part}')
        assert answer.status_code == 403 and 'link that leads out' in answer.json()['error']
    assert (
        client.decide(A, 'accept', png(DRAWN), {'version': 0, 'mask': sha256(secret.read_bytes())}).status_code == 403
    )
    assert secret.read_bytes().startswith(b'CONFIDENTIAL')


def test_links_that_lead_out_are_left_out_or_refused_at_the_start(root, tmp_path) -> None:
    moved = (root / f'gt/{A}.png').rename(tmp_path / 'moved.png')
    (root / f'gt/{A}.png').symlink_to(moved)
    review = MaskReview(root)
    review.close()
    assert A not in review.states and f'gt/{A}' in ' '.join(review.notes)
    for name in ('decisions.jsonl', 'mask_history', 'ref'):
        target = tmp_path / f'target of {name}'
        if name == 'decisions.jsonl':
            target.write_text('')
        else:
            target.mkdir()
        here = root / name
        if here.exists():
            here.rename(tmp_path / f'old {name}')
        here.symlink_to(target)
        with pytest.raises(RefStarError, match=name):
            MaskReview(root)
        here.unlink()
        (tmp_path / f'old {name}').rename(here)


WRONG_BODIES = {
    'no PNG': b'not a picture at all, but long enough to hold a header of one',
    'short': b'\x89PNG',
    'is 24x24, the reference is 48x48': png(np.zeros((24, 24))),
    'colour type 2': png(DRAWN, 'RGB'),
    'colour type 3': png(DRAWN, 'P'),
    'colour type 4': png(DRAWN, 'LA'),
    '1-bit': png(DRAWN, '1'),
    'is 16-bit': png(DRAWN, 'I;16'),
    'broken PNG': png(np.random.default_rng(0).integers(0, 255, (SIZE, SIZE)))[:-700],
}


@pytest.mark.parametrize('message', WRONG_BODIES)
def test_a_wrong_mask_is_refused(root, client, message) -> None:
    before = runs.files_under(root)
    answer = client.decide(A, 'accept', WRONG_BODIES[message])
    assert answer.status_code == 400
    assert (message if message != 'short' else 'is no PNG') in answer.json()['error']
    assert runs.files_under(root) == before


def test_wrong_requests_are_refused(root, client) -> None:
    before, seen = runs.files_under(root), client.look(A)
    assert client.decide(A, 'accept', bytes(LARGEST + 1), seen).status_code == 413
    assert client.decide(A, 'accept', png(DRAWN), seen, **{'Content-Type': 'text/plain'}).status_code == 415
    assert client.decide(A, 'delete', b'', seen).status_code == 400
    assert client.decide(A, 'changed', b'', seen).status_code == 400
    assert client.decide(A, 'reject', png(DRAWN), seen).status_code == 400
    assert client.decide('nobody', 'accept', b'', seen).status_code == 404
    headers = {'Origin': OURS, 'Content-Type': 'image/png'}
    for query in ('', '?action=accept', '?action=accept&version=x&mask=y'):
        assert client.http.post(f'/api/pairs/{A}{query}', headers=headers).status_code == 400
    assert client.http.delete(f'/api/pairs/{A}', headers=headers).status_code == 405
    assert runs.files_under(root) == before


def test_a_broken_mask_can_only_be_rejected(root, review, client) -> None:
    (root / f'mask/{A}.png').write_bytes(png(DRAWN, 'RGB'))
    assert '8-bit grey' in client.look(A)['problem']
    assert client.decide(A, 'accept').status_code == 400
    assert client.decide(A, 'reject').json()['state'] == 'rejected'


def test_odd_names_and_sparse_tables(root, tmp_path) -> None:
    odd = 'a b#1%é?&+'
    for part in ('gt', 'ref', 'mask'):
        (root / f'{part}/{A}.png').rename(root / f'{part}/{odd}.png')
    (root / 'meta.csv').write_text(f'id\n{odd}\n{B}\nmissing\n')
    review = MaskReview(root)
    client = Client(TestClient(review_app(review), base_url=OURS), OURS)
    listed = client.http.get('/api/pairs').json()
    assert [(p['id'], p['state'], p['confidence']) for p in listed['pairs']] == [
        (odd, 'proposed', None), (B, 'proposed', None)
    ]  # fmt: skip
    assert 'gt/missing, ref/missing, mask/missing' in listed['notes'][0]
    quoted = odd.replace('%', '%25').replace('#', '%23').replace('?', '%3f')
    assert client.http.get(f'/api/pairs/{quoted}/gt').content == (root / f'gt/{odd}.png').read_bytes()
    assert client.decide(quoted, 'accept', png(DRAWN)).json()['id'] == odd
    review.close()
    assert (root / 'meta.csv').read_text() == f'id,provenance\n{odd},edited\n{B},\nmissing,\n'


@pytest.mark.parametrize(
    ('meta', 'message'),
    [
        ('identity\nx\n', 'no column id'),
        ('id\n00000\n00000\n', "meta.csv:3: id '00000' appears twice"),
        ('id\n../00000\n', 'must be a file name inside'),
        ('id\ngt/00000\n', 'plain file name'),
        ('id,confidence\n00000,high\n', "confidence 'high' must be a number between 0 and 1"),
        ('id,confidence\n00000,nan\n', 'must be a number'),
        ('id\nnobody\n', 'lists no triplet'),
    ],
)
def test_a_wrong_table_is_named(root, meta, message) -> None:
    (root / 'meta.csv').write_text(meta)
    with pytest.raises(RefStarError, match=message):
        MaskReview(root)
