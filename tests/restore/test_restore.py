"""Restoring aligned faces: the network's own result, references that take care of themselves, masks, colours."""

import doctest

import cv2
import numpy as np
import pytest
import torch
from helpers.networks import make
from helpers.restoring import SIZE, Detector, face_at, hue_checker, network, network_file, picture, save
from PIL import Image

from refstar import RefStarError
from refstar.restore import engine
from refstar.restore import restorer as module
from refstar.restore.engine import blur, keep_colour
from refstar.restore.face_masks import REGIONS, allowed_area
from refstar.restore.faces import RestoreSettings
from refstar.restore.input_files import printable, unique
from refstar.restore.reference_choice import measure_attributes, rank, usefulness
from refstar.restore.references import Person, ReferenceReader
from refstar.restore.restore_report import mask_names
from refstar.restore.restorer import Restorer
from refstar.utils.image_files import to_image, to_tensor


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer(network())


def near(a: np.ndarray, b: np.ndarray, steps: int = 1) -> None:
    assert np.abs(a.astype(int) - b).max() <= steps


def test_result_is_the_networks(restorer):
    lq, refs = picture(0), [picture(1), picture(2)]
    result = restorer(lq, refs, strength=0.7, colour=False)
    with torch.no_grad():
        stack = torch.stack([to_tensor(ref) for ref in refs])[None]
        out, aux = restorer.net(to_tensor(lq)[None], stack, strength=0.7, return_aux=True)
    near(result.image, to_image(out[0]))
    order = [int(choice.reference.name.split()[-1]) - 1 for choice in result.chosen]
    torch.testing.assert_close(torch.from_numpy(result.mask), aux['mask'][0, order, 0])
    np.testing.assert_allclose(result.attribution.sum(0), 0.7 * aux['alpha'][0, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize('name', ['GFPGANv1Clean', 'RRDBNet'])
def test_without_references_it_is_the_backbone_every_time(name):
    one = Restorer(make(name))
    lq = picture(0)
    plain = one(lq).image
    for _ in range(2):
        assert (one(lq).image == plain).all()
    assert (one(lq, [picture(1)], strength=0).image == plain).all()
    assert (one(lq, [picture(1)]).image != plain).any()


def test_every_form_of_a_picture(restorer, tmp_path):
    path = save(tmp_path / 'ä ö.png', picture(0))
    wanted = restorer(picture(0), [picture(1)]).image
    for form in (path, str(path), Image.fromarray(picture(0)), Image.open(path)):
        assert (restorer(form, [picture(1)]).image == wanted).all()
    big = np.kron(picture(0), np.ones((2, 2, 1), np.uint8))
    assert (restorer(big, [picture(1)]).image == wanted).all()  # brought to the network's size
    for wrong, message in [
        (np.zeros((4, 4)), 'must be a path'),
        (picture(0, 16, 32), 'not square'),
        (7, 'must be a p'),
    ]:
        with pytest.raises(RefStarError, match=message):
            restorer(wrong)


def test_faces_of_a_batch_do_not_meet(restorer):
    settings = RestoreSettings()
    people = [None, [picture(1)], [picture(2), picture(3), picture(4)]]
    plans = [
        restorer.prepare([restorer.face(picture(10 + i))], restorer.people(refs), settings)[0]
        for i, refs in enumerate(people)
    ]
    for result, plan in zip(restorer.restore(plans, settings), plans, strict=True):
        alone = restorer.restore([plan], settings)[0]
        near(result.image, alone.image)
        assert result.mask.shape == alone.mask.shape == (len(plan.chosen), SIZE, SIZE)


def test_precisions(restorer):
    half = Restorer(restorer.net, precision='bf16')
    near(half(picture(0), [picture(1)]).image, restorer(picture(0), [picture(1)]).image, 12)
    for wrong, message in (('fp16', 'needs a GPU'), ('int8', 'known are')):
        with pytest.raises(RefStarError, match=message):
            Restorer(restorer.net, precision=wrong)
    with pytest.raises(RefStarError, match='takes no references'):
        Restorer(torch.nn.Conv2d(3, 3, 1))


def test_fidelity_is_codeformers_w(restorer):
    codeformer = Restorer(make('CodeFormer'))
    assert codeformer.engine.backbone_arguments(RestoreSettings(fidelity=0.3)) == {'w': 0.3}
    with pytest.raises(RefStarError, match='fidelity: RRDBNet has no such control'):
        restorer(picture(0), fidelity=0.5)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'strength': 1.5}, 'strength must be 0 to 1'),
        ({'num_refs': 0}, 'num_refs must be at least 1'),
        ({'on_wrong_identity': 'ask'}, 'known are warn, drop, refuse'),
        ({'use': ['eye']}, "no part 'eye'; nearest: eyes"),
        ({'keep': ['beard']}, "no part 'beard'"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(RefStarError, match=message):
        RestoreSettings(**settings)


# ------------------------------------------------------------------ colour
def test_colours_of_the_photo_are_kept():
    lq = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    warm = lq + torch.tensor([0.3, 0.0, -0.3])[:, None, None]
    alpha = torch.zeros(1, 1, 64, 64)
    assert torch.equal(keep_colour(warm, lq, alpha), warm)
    alpha[..., 32:] = 1
    out = keep_colour(warm, lq, alpha)
    assert torch.equal(out[..., :32], warm[..., :32])
    assert (out - lq)[..., 32:].abs().max() < 0.01
    detail = warm + 0.2 * (torch.arange(64) % 2 * 2 - 1)  # fine detail stays
    assert (keep_colour(detail, lq, alpha) - out - (detail - warm))[..., 32:].abs().max() < 0.01


@pytest.mark.parametrize('sigma', [0.5, 2, 8])
def test_blur_keeps_what_is_even(sigma):
    torch.testing.assert_close(blur(torch.full((1, 3, 40, 40), 0.3), sigma), torch.full((1, 3, 40, 40), 0.3))


# ------------------------------------------------------------------ masks and regions
def test_masks_are_the_users(restorer):
    lq, refs = picture(0), [picture(1)]
    plain, free = restorer(lq).image, restorer(lq, refs)
    assert (restorer(lq, refs, keep=['face', 'outside']).image == plain).all()
    part = restorer(lq, refs, use=['mouth'])
    outside = allowed_area(['mouth'], [], None, SIZE) == 0
    assert (part.mask[0][outside] == 0).all() and (part.mask[0] > 0).any()
    binary = restorer(lq, refs, mask_threshold=float(np.median(free.mask))).mask
    assert set(np.unique(binary)) == {0, 1}
    whole = restorer(lq, refs, mask_threshold=0).mask
    assert (whole == 1).all()


def test_regions_cover_the_face():
    for size in (32, 128, 512):
        every = {name: allowed_area([name], [], None, size) for name in REGIONS}
        assert all(0 < part.max() <= 1 and part.min() == 0 for part in every.values())
        assert (allowed_area(['face'], ['mouth'], None, size) * every['mouth']).max() == 0
        left, right = every['eyes'][:, : size // 2], every['eyes'][:, size // 2 :]
        assert left.sum() > 0 and right.sum() > 0
        rows = {name: (part.sum(1) @ np.arange(size)) / part.sum() for name, part in every.items()}
        assert rows['brows'] < rows['eyes'] < rows['nose'] < rows['mouth']


# ------------------------------------------------------------------ references
def test_doubles_blurred_and_unreadable_references_are_left_out(tmp_path):
    sharp = picture(1, 128, 128)
    blurred = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 6, 3)).astype(np.uint8), (128, 128))
    save(tmp_path / 'a.png', sharp)
    save(tmp_path / 'b.jpg', np.clip(sharp.astype(int) + 12, 0, 255).astype(np.uint8), quality=90)
    save(tmp_path / 'c.png', blurred)
    save(tmp_path / 'd.png', picture(3, 64, 128))
    (tmp_path / 'e.png').write_bytes(b'')
    save(tmp_path / 'f.png', picture(4, 128, 128))
    person = ReferenceReader(64).read(sorted(tmp_path.iterdir()))[0]
    assert {ref.name[-5:] for ref in person.references} in ({'a.png', 'f.png'}, {'b.jpg', 'f.png'})
    reasons = ' '.join(sorted(why for why in person.dropped.values()))
    for why in ('the same photo as', 'blurred', 'not square', 'not a readable image'):
        assert why in reasons
    with pytest.raises(RefStarError, match=r'no usable reference of references: .*d.png: .*not square'):
        Restorer(network()).people([tmp_path / 'd.png'])
    with pytest.raises(RefStarError, match='no such file or folder'):
        Restorer(network()).people([tmp_path / 'gone'])


def test_people_are_told_apart():
    """A folder of photos of two people, one of them a group photo: three people's faces, two people with photos."""
    faces = {40: [face_at(2, 2, 32)], 120: [face_at(0, 0, 32), face_at(40, 0, 32), face_at(80, 0, 31)]}
    group = np.hstack([picture(5, 40, 40, 0), picture(6, 40, 40, 1), picture(7, 40, 40, 2)])
    photos = [picture(1, 40, 40, 0), picture(2, 40, 40, 0), picture(3, 40, 40, 1), group]
    reader = ReferenceReader(SIZE, Detector(faces), hue_checker())
    people = reader.read(photos, 'album')
    assert [len(person.references) for person in people] == [3, 2, 1]
    assert people[2].references[0].name == 'album 4 (face 3 of 3)'
    alone = reader.read(photos, 'anna', one_person=True)
    assert len(alone) == 1 and len(alone[0].references) == 3
    assert 'another person than the other photos' in alone[0].dropped['album 3'.replace('album', 'anna')]
    unchecked = ReferenceReader(SIZE, Detector(faces)).read(photos, 'anna')[0]
    assert len(unchecked.references) == 4 and len(unchecked.dropped) == 2  # the largest face of each photo
    with pytest.raises(RefStarError, match='no face found'):
        reader.read([picture(1, 40, 41)], 'nobody')


def test_a_stranger_is_warned_of_dropped_or_refused():
    guarded = Restorer(network(), identity_checker=hue_checker())
    lq, right, wrong = picture(0, hue=0), picture(1, hue=0), picture(2, hue=1)
    plain = guarded(lq).image
    good = guarded(lq, [right])
    assert good.identity.same and not good.notes and (good.image != plain).any()
    warned = guarded(lq, [wrong])
    assert warned.identity.same is False and 'used all the same' in warned.notes[0] and (warned.image != plain).any()
    dropped = guarded(lq, [wrong], on_wrong_identity='drop')
    assert (
        (dropped.image == plain).all()
        and not dropped.chosen
        and list(dropped.dropped.values()) == ['likely another person']
    )
    with pytest.raises(
        RefStarError, match=r'likely of another person \(similarity -?0\.\d\d, .* 0\.50 or more\); refused'
    ):
        guarded(lq, [wrong], on_wrong_identity='refuse')
    both = guarded(lq, [wrong, right])  # two people: the right one is taken
    assert both.identity.same and [c.reference.name for c in both.chosen] == ['references 2']


@pytest.mark.parametrize('policy', ['drop', 'refuse'])
def test_who_is_not_compared_cannot_be_dropped_or_refused(restorer, policy):
    with pytest.raises(RefStarError, match=f'--on_wrong_identity {policy}: .*give --identity_weights'):
        restorer(picture(0), [picture(1)], on_wrong_identity=policy)


def test_a_threshold_without_anything_that_compares_is_refused(tmp_path):
    with pytest.raises(RefStarError, match=r'--identity_threshold 0\.3: .*give --identity_weights'):
        Restorer.from_pretrained(network_file(tmp_path), identity_threshold=0.3)


def test_the_most_useful_references_come_first():
    look = measure_attributes(picture(1), None)
    make_person = ReferenceReader(SIZE).read([picture(1), picture(2), picture(3)], 'x')
    order = [choice.reference.name for choice in rank(look, None, make_person[0])]
    assert order[0] == 'x 1'  # the same light
    few = Restorer(network())(picture(1), [picture(1), picture(2), picture(3)], num_refs=2)
    assert len(few.chosen) == 2 and 'less useful than 2 others' in few.dropped.values()


def test_pose_and_expression_are_read_from_five_points():
    img = picture(0, 64, 64)
    straight = np.array([(20, 28), (44, 28), (32, 38), (24, 48), (40, 48)], float)
    turned, smiling = straight.copy(), straight.copy()
    turned[2, 0] += 6
    smiling[3, 0], smiling[4, 0] = 20, 44
    looks = [measure_attributes(img, points) for points in (straight, turned, smiling)]
    assert looks[0].yaw == pytest.approx(0) and looks[1].yaw == pytest.approx(0.25)
    assert looks[2].smile > looks[0].smile
    same, other, laugh = (usefulness(looks[0], look) for look in looks)
    assert same['pose'] == 1 and other['pose'] < 0.4 and laugh['expression'] < 0.5 and laugh['pose'] == 1


def test_only_some_encoded_references_stay_in_memory(monkeypatch):
    monkeypatch.setattr(engine, 'MAX_ENCODED', 2)
    one = Restorer(network())
    people = one.people([picture(i) for i in range(4)])
    first = one(picture(9), people).image
    assert sum(ref.encoded is not None for ref in people[0].references) == 2
    assert (one(picture(9), people).image == first).all()


def test_doctests():
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried and not failed


def test_one_person_without_a_usable_photo_does_not_stop_the_others(restorer, tmp_path):
    save(tmp_path / 'anna/a.png', picture(1))
    save(tmp_path / 'bob/wide.png', picture(2, SIZE, 40))
    assert [person.name for person in restorer.people(tmp_path)] == ['anna']
    with pytest.raises(RefStarError, match=r'no usable reference of bob: .*not square'):
        restorer.people(tmp_path / 'bob')


def test_no_two_names_are_alike(restorer, tmp_path):
    assert unique(['a', 'b', 'a', 'a (2)', 'a'], ['b']) == ['a', 'b (2)', 'a (2)', 'a (2) (2)', 'a (3)']
    assert mask_names(['x/r.png', 'y/r.jpg', 'y/attribution.png', 'r_2.png']) == ['r', 'r_2', 'attribution_2', 'r_2_2']
    assert printable('a\x1b[31m\u202e\nb' + 'c' * 200) == 'a_[31m__b' + 'c' * 91
    folders = [save(tmp_path / place / 'alice/1.png', picture(i)).parent for i, place in enumerate('ab')]
    people = restorer.people(folders)
    assert [person.name for person in people] == ['alice', 'alice (2)']
    again = restorer.people([*people, folders[0]])
    assert [person.name for person in again] == ['alice', 'alice (2)', 'alice (3)']
    photo = folders[0] / '1.png'
    twice = restorer.people([photo, photo])[0]
    assert [ref.name for ref in twice.references] == [str(photo)]
    assert twice.dropped == {f'{photo} (2)': f'the same photo as {photo}'}


def test_a_person_can_be_given_as_such(restorer):
    people = restorer.people([picture(1), picture(2)])
    assert isinstance(people[0], Person)
    assert (restorer(picture(0), people).image == restorer(picture(0), [picture(1), picture(2)]).image).all()
