"""The Python interface: results, batches, identity policies, groups of references."""

import doctest
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.networks import make
from helpers.restoring import SIZE, hue_checker, network, network_file, picture, save
from PIL import Image

from refstar import RefStarError
from refstar.restore import restorer as module
from refstar.restore.faces import IdentityVerdict, Person, RestoreSettings
from refstar.restore.restorer import Restorer
from refstar.utils.image_files import to_image, to_tensor


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return Restorer(network())


def near(a: np.ndarray, b: np.ndarray, steps: int = 1) -> None:
    assert np.abs(a.astype(int) - b).max() <= steps


def test_result_equals_the_network(restorer):
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
def test_without_references_equals_the_backbone(name):
    one = Restorer(make(name))
    lq = picture(0)
    plain = one(lq).image
    for _ in range(2):
        assert (one(lq).image == plain).all()
    assert (one(lq, [picture(1)], strength=0).image == plain).all()
    assert (one(lq, [picture(1)]).image != plain).any()


def test_pictures_of_every_form_are_accepted(restorer, tmp_path):
    path = save(tmp_path / 'ä ö.png', picture(0))
    wanted = restorer(picture(0), [picture(1)]).image
    for form in (path, str(path), Image.fromarray(picture(0)), Image.open(path)):
        assert (restorer(form, [picture(1)]).image == wanted).all()
    big = np.kron(picture(0), np.ones((2, 2, 1), np.uint8))
    assert (restorer(big, [picture(1)]).image == wanted).all()  # brought to the network's size
    for wrong, message in ((np.zeros((4, 4)), 'must be a path'), (picture(0, 16, 32), 'not square')):
        with pytest.raises(RefStarError, match=message):
            restorer(wrong)


def test_faces_of_a_batch_are_independent(restorer):
    settings = RestoreSettings()
    people = [None, [picture(1)], [picture(2), picture(3), picture(4)]]
    prepared = [
        restorer.prepare([restorer.face(picture(10 + i))], restorer.people(refs), settings)[0]
        for i, refs in enumerate(people)
    ]
    for result, face in zip(restorer.restore(prepared, settings), prepared, strict=True):
        alone = restorer.restore([face], settings)[0]
        near(result.image, alone.image)
        assert result.mask.shape == alone.mask.shape == (len(face.chosen), SIZE, SIZE)


def test_precisions_and_devices(restorer):
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


def test_steps_and_seed_of_a_flow(restorer):
    flow, photos = Restorer(make('FlowRestorer')), (picture(0), [picture(1)])
    restored = [flow(*photos, steps=steps, seed=seed).image for steps, seed in ((0, 0), (2, 1), (2, 0))]
    assert len({image.tobytes() for image in restored}) == 3
    assert np.array_equal(flow(*photos).image, restored[-1])  # as the network was made, seed 0
    for setting in ({'steps': 4}, {'seed': 1}):
        with pytest.raises(RefStarError, match='RRDBNet has no such control'):
            restorer(picture(0), **setting)
        with pytest.raises(RefStarError, match='must be 0 or more, got -1'):
            RestoreSettings(**dict.fromkeys(setting, -1))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'strength': 1.5}, 'strength must be 0 to 1'),
        ({'num_refs': 0}, 'num_refs must be at least 1'),
        ({'on_wrong_identity': 'ask'}, 'known are warn, drop, refuse'),
        ({'unmatched': 'ask'}, 'known are leave, restore'),
        ({'use': ['eye']}, "no part 'eye'; nearest: eyes"),
        ({'keep': ['beard']}, "no part 'beard'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(RefStarError, match=message):
        RestoreSettings(**settings)


def test_strangers_are_left_out_warned_of_or_refused():
    checked = Restorer(network(), identity_checker=hue_checker())
    lq, right, wrong = picture(0, hue=0), picture(1, hue=0), picture(2, hue=1)
    plain = checked(lq).image
    good = checked(lq, [right])
    assert good.identity.probability > 0.9 and not good.notes and (good.image != plain).any()
    left_out = checked(lq, [wrong])
    assert (left_out.image == plain).all() and not left_out.chosen and left_out.identity.same is False
    assert list(left_out.dropped.values()) == ['likely shows somebody else'] and 'not used' in left_out.notes[0]
    warned = checked(lq, [wrong], on_wrong_identity='warn')
    assert 'used all the same' in warned.notes[0] and (warned.image != plain).any()
    with pytest.raises(RefStarError, match=r'likely .* \(probability of the same person 0%\): refused'):
        checked(lq, [wrong], on_wrong_identity='refuse')
    both = checked(lq, [wrong, right])  # two people: the right one is taken
    assert both.identity.same and [c.reference.name for c in both.chosen] == ['references 2']


def test_unsure_references_are_used_with_a_warning():
    lq, right = picture(0, hue=0), picture(1, hue=0)
    similarity = Restorer(network(), identity_checker=hue_checker())(lq, [right]).identity.similarity
    unsure = Restorer(network(), identity_checker=hue_checker(similarity))(lq, [right])
    assert unsure.identity.probability == pytest.approx(0.5) and len(unsure.chosen) == 1
    assert unsure.notes == ['It is not certain that the good photos show the person of this face: used, look closely.']


def test_people_who_look_alike_are_warned_of():
    """The right person of two has all the probability, but for a face that is as much like the other."""
    restorer, lq = Restorer(network(), identity_checker=hue_checker()), picture(0, hue=0)
    for hue, among, notes in ((1, 1.0, 0), (0, 0.5, 1)):
        people = restorer.people([picture(1, hue=0)]) + restorer.people([picture(2, hue=hue)])
        result = restorer(lq, people)
        assert result.identity.among == pytest.approx(among, abs=0.05) and len(result.chosen) == 1
        assert sum('not certain' in note for note in result.notes) == notes


def test_more_is_asked_of_a_good_photo():
    """The longer the embedding of a degraded photo, the surer it must be; other networks' have no length."""
    taught, other = replace(hue_checker(), logit=(20.0, 5.0, 0.0)), hue_checker()
    bad, good = np.array([0.5, 0, 0]), np.array([0.9, 0, 0])
    assert 0.25 < taught.least_probability(bad) < 0.35 < 0.85 < taught.least_probability(good) < 0.9
    assert other.least_probability(good) == other.least_probability(bad) == taught.least_probability(bad)
    for probability, least, kind in ((0.7, 0.88, 'stranger'), (0.7, 0.3, 'unsure'), (0.9, 0.88, 'unsure')):
        verdict = IdentityVerdict('ann', 0.5, probability, least)
        assert verdict.stranger == (kind == 'stranger') and verdict.unsure == (kind == 'unsure')
    sure = IdentityVerdict('ann', 0.5, 0.99, 0.88)
    assert not sure.stranger and not sure.unsure and not IdentityVerdict().unsure


def test_networks_that_ship_are_the_default(tmp_path):
    path = network_file(tmp_path)
    shipped = Restorer.from_pretrained(path)
    assert shipped.detector.network.name == 'YuNet' and 'dlib' in shipped.identity_checker.name
    assert Restorer.from_pretrained(path, detector=None).detector is None
    with pytest.raises(RefStarError, match=r'--identity_threshold 0\.3: .*name another one'):
        Restorer.from_pretrained(path, identity_threshold=0.3)
    with pytest.raises(RefStarError, match='on_wrong_identity refuse: there is no network that compares people'):
        Restorer(network())(picture(0), [picture(1)], on_wrong_identity='refuse')


def test_person_without_usable_photo_is_left_out(restorer, tmp_path):
    save(tmp_path / 'anna/a.png', picture(1))
    save(tmp_path / 'bob/wide.png', picture(2, SIZE, 40))
    (anna,) = restorer.people(tmp_path)
    assert anna.name == 'anna' and 'wide.png: ' in anna.dropped['bob']
    with pytest.raises(RefStarError, match=r'no usable photo of .*bob.*not square'):
        restorer.people(tmp_path / 'bob')


def test_person_objects_are_references(restorer):
    people = restorer.people([picture(1), picture(2)])
    assert isinstance(people[0], Person)
    assert (restorer(picture(0), people).image == restorer(picture(0), [picture(1), picture(2)]).image).all()


def test_doctest_of_the_class_runs():
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried and not failed
