"""`refstar masks review` after kills, and after other programs: nothing acknowledged is lost."""

import json
import shutil
import signal
import threading
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from helpers import reviewing, runs
from helpers.reviewing import Client, Server, pixels, png, provenance, sha256

from refstar.curate.mask_review import MaskReview
from refstar.utils.errors import RefStarError

CRASHES = Path(__file__).parents[1] / 'helpers/review_crashes.py'
SIZE = 48
A, B = '00000', '00001'
DRAWN = np.zeros((SIZE, SIZE), np.uint8)
DRAWN[8:20, 8:20] = 255


@pytest.fixture(scope='module')
def collection(tmp_path_factory) -> Path:
    return reviewing.write_collection(tmp_path_factory.mktemp('collection') / 'made', SIZE)


@pytest.fixture
def root(collection, tmp_path) -> Path:
    return shutil.copytree(collection, tmp_path / 'root')


def test_a_torn_last_line_was_never_acknowledged_but_a_broken_one_is_an_error(root) -> None:
    review = MaskReview(root)
    review.decide(A, 'reject', 0, sha256((root / f'mask/{A}.png').read_bytes()))
    with pytest.raises(RefStarError, match='another review of this folder is running'):
        MaskReview(root)
    review.close()
    whole = (root / 'decisions.jsonl').read_bytes()
    (root / 'decisions.jsonl').write_bytes(whole + whole[:50])
    review = MaskReview(root)
    review.close()
    assert (root / 'decisions.jsonl').read_bytes() == whole and 'never confirmed' in review.notes[0]
    for wrong in (b'{"id": 3}\n', b'no json\n', whole, whole.replace(b'"version": 1', b'"version": 3')):
        (root / 'decisions.jsonl').write_bytes(whole + wrong)
        with pytest.raises(RefStarError, match=r'decisions.jsonl:2: is no decision'):
            MaskReview(root)
        assert (root / 'decisions.jsonl').read_bytes() == whole + wrong


def test_a_mask_that_another_program_replaced_is_to_be_reviewed_again(root) -> None:
    review = MaskReview(root)
    seen = {name: sha256((root / f'mask/{name}.png').read_bytes()) for name in (A, B)}
    proposed = (root / f'mask/{B}.png').read_bytes()
    review.decide(A, 'accept', 0, seen[A])
    review.decide(B, 'accept', 0, seen[B], png(DRAWN))
    review.close()
    (root / f'mask/{A}.png').write_bytes(png(255 - DRAWN))  # a new proposal
    (root / f'mask/{B}.png').write_bytes(proposed)  # the very proposal that was edited: the edit holds
    review = MaskReview(root)
    assert A in review.notes[0] and B not in review.notes[0]
    assert review.states[A] == 'propagated' and not review.summary(A)['reviewed']
    assert review.states[B] == 'edited' and np.array_equal(pixels(root, B), DRAWN)
    review.close()
    again = MaskReview(root)
    again.close()
    assert again.notes == [] and provenance(root)[:2] == ['propagated', 'edited']


def test_a_kill_at_any_system_call_loses_nothing_acknowledged(root, tmp_path) -> None:
    keep = (root / 'meta.csv').read_text().splitlines()[:3]  # two pairs are enough
    (root / 'meta.csv').write_text('\n'.join(keep))
    said = runs.succeeded(runs.python(CRASHES, root, tmp_path / 'work', cwd=tmp_path))
    written, synced, replaced, torn = map(int, said.split())
    assert written == torn == 4  # four decisions: each line of the journal was torn once
    assert synced > 20 and replaced == 7  # and the process was killed before and after each of these


def test_sigkill_of_the_server_loses_nothing_acknowledged(root) -> None:
    rng = np.random.default_rng(0)
    acknowledged: dict[str, dict] = {}
    for kill_after in (3, 8):
        with Server(root) as server, httpx2.Client(base_url=server.url) as http:
            client = Client(http, server.url)
            for name, pair in acknowledged.items():  # of the round before
                now = client.look(name)
                assert now['version'] - pair['version'] in (0, 1)  # one may have been on its way
                if now['version'] == pair['version']:
                    assert (now['state'], now['mask']) == (pair['state'], pair['mask'])
            done = threading.Event()

            def work(client=client, done=done) -> None:
                for number in range(10**6):
                    name, action = f'{number % 6:05d}', ('accept', 'accept', 'reject', 'undo')[number % 4]
                    body = png(rng.integers(0, 255, (SIZE, SIZE))) if action == 'accept' else b''
                    try:
                        answer = client.decide(name, action, body)
                    except httpx2.TransportError:
                        return
                    if answer.status_code == 200:
                        acknowledged[name] = answer.json()
                    if number == kill_after:  # noqa: B023
                        done.set()

            thread = threading.Thread(target=work)
            thread.start()
            assert done.wait(30)
            time.sleep(rng.uniform(0, 0.05))
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
            thread.join(30)
    assert len(acknowledged) >= 4
    with Server(root) as server:
        assert server.end() == 0
        assert 'meta.csv is up to date' in server.said
    journal = [json.loads(line) for line in (root / 'decisions.jsonl').read_text().splitlines()]
    states = dict(zip([f'{i:05d}' for i in range(6)], provenance(root), strict=True))
    assert {line['id']: line['now']['state'] for line in journal}.items() <= states.items()
    last = {line['id']: line['now']['mask'] for line in journal}
    assert all(sha256((root / f'mask/{name}.png').read_bytes()) == mask for name, mask in last.items())
