"""Decisions of a mask review are on disk, survive kills, and never overwrite what a person did not see."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import reviewing, runs
from helpers.reviewing import column, pixels, png

from refstar.curate import mask_review
from refstar.curate.mask_review import MaskReview, StaleDecision
from refstar.data.refsel_dataset import RefSelDataset
from refstar.utils import text_files
from refstar.utils.errors import RefStarError

SIZE = 48
A, B, C = '00000', '00001', '00002'
DRAWN = np.zeros((SIZE, SIZE), np.uint8)
DRAWN[8:20, 8:20] = 255


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


def mask_file(root: Path, name: str) -> bytes:
    return (root / f'mask/{name}.png').read_bytes()


# ------------------------------------------------------------------ decisions
def test_decisions_reach_meta_csv(root, review):
    review.accept(review.look(A))
    review.accept(review.look(B), DRAWN)
    review.reject(review.look(C))
    assert column(root, 'provenance') == ['accepted', 'edited', 'rejected', 'proposed', 'propagated', 'proposed']


def test_painted_mask_replaces_the_mask(root, review):
    review.accept(review.look(B), DRAWN)
    assert np.array_equal(pixels(root, B), DRAWN)


def test_mask_sent_unchanged_counts_as_accepted(root, review):
    assert review.accept(review.look(B), pixels(root, B)).row['provenance'] == 'accepted'


def test_undo_brings_back_mask_and_provenance(root, review):
    proposed, before = mask_file(root, B), review.look(B)
    after = review.accept(before, DRAWN)
    review.undo(before, after)
    assert mask_file(root, B) == proposed and column(root, 'provenance')[1] == 'proposed'


def test_undo_of_a_decision_that_was_replaced_is_refused(review):
    before = review.look(A)
    after = review.accept(before)
    review.reject(review.look(A))
    with pytest.raises(StaleDecision):
        review.undo(before, after)


def test_reviewed_collection_trains(root, review):
    review.accept(review.look(A), DRAWN)
    review.reject(review.look(B))
    review.accept(review.look(C))
    plain = dict.fromkeys(('ref_drop_prob', 'wrong_ref_prob', 'self_pair_prob', 'ref_jitter'), 0.0)
    options = {'dataroot': str(root), 'gt_size': SIZE, 'degradation': 'ffhq_ref_severe', 'use_hflip': False, **plain}
    dataset = RefSelDataset({**options, 'provenance': ['edited']})
    assert np.array_equal(dataset[0]['ref_mask'][0, 0].numpy() * 255, DRAWN) and len(dataset.triplets) == 1


# ------------------------------------------------------------------ two tabs, other programs
@pytest.mark.parametrize('other', ['decision', 'program'])
def test_stale_decision_is_refused(root, review, other):
    seen = review.look(A)
    if other == 'decision':
        review.reject(seen)
    else:
        (root / f'mask/{A}.png').write_bytes(png(DRAWN))
    before = runs.files_under(root)
    with pytest.raises(StaleDecision, match='nothing was saved'):
        review.accept(seen, 255 - DRAWN)
    assert runs.files_under(root) == before


def test_second_review_of_a_folder_is_refused(root, review):
    with pytest.raises(RefStarError, match='another review'):
        MaskReview(root)


# ------------------------------------------------------------------ kills, full disks
@pytest.mark.parametrize('file', ['mask', 'meta.csv'])
def test_kill_before_a_write_loses_no_decision(root, review, monkeypatch, file):
    """What was decided stays; of the decision that was killed at most the painted mask is there, as to do."""

    def killed(path, data):
        raise KeyboardInterrupt

    review.reject(review.look(A))
    before = mask_file(root, B)
    monkeypatch.setattr(mask_review if file == 'mask' else text_files, 'write_atomically', killed)
    with pytest.raises(KeyboardInterrupt):
        review.accept(review.look(B), DRAWN)
    monkeypatch.undo()
    review.close()
    again = MaskReview(root)
    again.close()
    assert again.counts() == {'rejected': 1} and column(root, 'provenance')[:2] == ['rejected', 'proposed']
    assert mask_file(root, B) == before if file == 'mask' else np.array_equal(pixels(root, B), DRAWN)


def test_full_disk_saves_nothing_and_is_said(root, review, monkeypatch):
    def full(path, data):
        raise OSError(28, 'No space left on device')

    before = runs.files_under(root)
    monkeypatch.setattr(text_files, 'write_atomically', full)
    with pytest.raises(RefStarError, match='No space left'):
        review.reject(review.look(A))
    assert runs.files_under(root) == before and not review.counts()


# ------------------------------------------------------------------ wrong files
WRONG_MASKS = {
    'is not a readable image': b'not a picture at all',
    'is 24x24, the reference is 48x48': png(np.zeros((24, 24))),
    '8-bit grey PNG, is PNG of kind RGB': png(DRAWN, 'RGB'),
}


@pytest.mark.parametrize('message', WRONG_MASKS)
def test_broken_mask_can_only_be_rejected(root, review, message):
    (root / f'mask/{A}.png').write_bytes(WRONG_MASKS[message])
    with pytest.raises(RefStarError, match=message):
        review.accept(review.look(A))
    assert review.reject(review.look(A)).row['provenance'] == 'rejected'


def test_sparse_table_gets_its_columns(root):
    (root / 'meta.csv').write_text(f'id\n{A}\n{B}\nmissing\n')
    review = MaskReview(root)
    mark = review.accept(review.look(A), DRAWN).row['reviewed']
    review.close()
    assert (root / 'meta.csv').read_text() == f'id,provenance,reviewed\n{A},edited,{mark}\n{B},,\nmissing,,\n'


@pytest.mark.parametrize(
    ('meta', 'message'),
    [
        ('id\n00000\n00000\n', "meta.csv:3: id '00000' appears twice"),
        ('id\n../00000\n', 'must be a file name inside'),
        ('id,confidence\n00000,high\n', "confidence 'high' must be a number between 0 and 1"),
        ('id\nnobody\n', 'lists no triplet'),
    ],
)
def test_wrong_table_is_named(root, meta, message):
    (root / 'meta.csv').write_text(meta)
    with pytest.raises(RefStarError, match=message):
        MaskReview(root)
