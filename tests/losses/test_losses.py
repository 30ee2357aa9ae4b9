"""Losses: values at known points, gradients, and the cases in which there is nothing to learn from."""

import math

import pytest
import torch

from refstar.identity_arch import IdentityEncoder
from refstar.layers import identity_grid
from refstar.losses.correspondence_loss import CorrespondenceLoss, nearest_keys, shrink_flow
from refstar.losses.cycle_loss import CycleConsistencyLoss
from refstar.losses.identity_loss import HardExampleIdentityLoss
from refstar.losses.lpips_loss import LPIPSLoss
from refstar.losses.person_loss import PersonLoss
from refstar.losses.selection_loss import SelectionLoss
from refstar.utils.errors import RefStarError


def check_terms(terms, *names):
    assert set(terms) == set(names)
    assert all(v.ndim == 0 and torch.isfinite(v) for v in terms.values())


# ---------------------------------------------------------------- selection
def test_selection_known_values():
    loss = SelectionLoss()
    truth = torch.zeros(1, 1, 1, 4, 4)
    truth[..., :2] = 1
    perfect = loss(truth, truth)
    check_terms(perfect, 'bce', 'dice')
    assert perfect['bce'] < 1e-5
    assert perfect['dice'] < 1e-5
    half = loss(torch.full_like(truth, 0.5), truth)
    assert half['bce'] == pytest.approx(math.log(2))
    assert half['dice'] == pytest.approx(1 - 2 * 4 / (8 + 8))


def test_selection_logits_and_probabilities_agree():
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 2, 1, 8, 8), (torch.rand(2, 2, 1, 8, 8) > 0.5).float()
    a, b = SelectionLoss()(logits, truth, logits=True), SelectionLoss()(logits.sigmoid(), truth)
    for name in a:
        torch.testing.assert_close(a[name], b[name])


def test_selection_empty_truth_teaches_to_select_nothing():
    logits = torch.zeros(1, 1, 1, 64, 64, requires_grad=True)
    terms = SelectionLoss()(logits, torch.zeros(1, 1, 1, 64, 64), logits=True)
    assert terms['dice'].item() == pytest.approx(0.5)
    terms['dice'].backward()
    assert logits.grad.min() > 0.9 * 0.25 / 64**2  # the full slope of the mean, not Dice's 1 / area**2
    nothing = SelectionLoss()(torch.full((1, 1, 1, 4, 4), -200.0), torch.zeros(1, 1, 1, 4, 4), logits=True)
    check_terms(nothing, 'bce', 'dice')
    assert nothing['dice'] == 0


@pytest.mark.parametrize('logits', [True, False])
def test_selection_saturated_prediction_stays_finite(logits):
    extreme = torch.tensor([-500.0, 500.0] if logits else [0.0, 1.0])
    pred = extreme.repeat(8).view(1, 1, 1, 4, 4).requires_grad_()
    terms = SelectionLoss()(pred, torch.rand(1, 1, 1, 4, 4).round(), logits=logits)
    check_terms(terms, 'bce', 'dice')
    sum(terms.values()).backward()
    assert torch.isfinite(pred.grad).all()


# ---------------------------------------------------------------- correspondence
def test_nearest_keys_between_four_cells():
    index, weight = nearest_keys(torch.tensor([[0.0, 0.0], [-1.0, 1.0]]), (4, 4))
    assert sorted(index[0].tolist()) == [5, 6, 9, 10]
    torch.testing.assert_close(weight[0], torch.full((4,), 0.25))
    assert set(index[1][weight[1] > 0].tolist()) == {12}  # beyond the last centre: the corner cell
    centres = identity_grid(3, 5, torch.zeros(1))[0].flatten(1).T
    index, weight = nearest_keys(centres, (3, 5))
    assert index.gather(1, weight.argmax(1, keepdim=True)).flatten().tolist() == list(range(15))


def test_shrinking_a_partly_known_flow_is_unbiased():
    flow = identity_grid(8, 8, torch.zeros(1)) + 0.25
    valid = torch.zeros(1, 1, 8, 8)
    valid[..., ::2] = 1  # the left half of every cell
    small, known = shrink_flow(flow, valid, (4, 4))
    inside = small[0].abs().amax(0) <= 1
    torch.testing.assert_close(small, identity_grid(4, 4, flow) + 0.25)
    assert torch.equal(known[0], inside)


def perfect_match(flow: torch.Tensor, side: int, sharp: float = 50.0) -> torch.Tensor:
    """Logits whose soft-argmax is the given flow (b, n, 2, side, side), for flows onto cell centres."""
    centres = identity_grid(side, side, flow)[0].flatten(1)
    distance = (flow.flatten(3)[..., :, None] - centres[:, None, :]).square().sum(2)
    return -sharp * side**2 * distance


def test_correspondence_is_zero_at_the_truth_only():
    grid = identity_grid(16, 16, torch.zeros(1))[:, None]
    flow = grid + torch.tensor([2 / 4, 0]).view(1, 1, 2, 1, 1)  # one coarse cell to the right
    coarse = identity_grid(4, 4, grid)[:, None] + torch.tensor([2 / 4, 0]).view(1, 1, 2, 1, 1)
    valid = torch.ones(1, 1, 1, 16, 16)
    loss = CorrespondenceLoss()
    right = loss(perfect_match(coarse, 4), [coarse, flow], flow, valid)
    check_terms(right, 'match', 'flow')
    assert right['match'] < 1e-4
    assert right['flow'] < 1e-5
    still = identity_grid(4, 4, grid)[:, None]
    wrong = loss(perfect_match(still, 4), [still], flow, valid)
    assert wrong['match'] > 10
    # 0.5 in [-1, 1] is a quarter of the image side
    assert wrong['flow'] == pytest.approx(10 * 0.25, rel=0.01)


def test_correspondence_is_shared_between_keys():
    flow = torch.zeros(1, 1, 2, 4, 4)  # every query looks between the four central keys of 4 x 4
    logits = torch.full((1, 1, 16, 16), -50.0)
    logits[..., [5, 6, 9, 10]] = 0
    assert CorrespondenceLoss()(logits, [flow], flow, torch.ones(1, 1, 1, 4, 4))['match'] == pytest.approx(0, abs=1e-5)


# ---------------------------------------------------------------- cycle
def test_cycle_counts_selected_pixels_only():
    ref = torch.zeros(2, 3, 8, 8)
    rec, mask = ref + 0.5, torch.zeros(2, 1, 8, 8)
    mask[:, :, :4] = 1
    rec[:, :, 4:] = 99.0  # outside the selection anything goes
    terms = CycleConsistencyLoss()(rec, ref, mask)
    check_terms(terms, 'pixel')
    assert terms['pixel'] == pytest.approx(0.5)


def test_cycle_a_few_pixels_do_not_count_like_a_face():
    ref, mask = torch.zeros(1, 3, 20, 20), torch.zeros(1, 1, 20, 20)
    mask[..., 0, 0] = 1
    value = CycleConsistencyLoss(min_area=0.05)(ref + 1, ref, mask)['pixel']
    assert value == pytest.approx(1 / (0.05 * 400))


def test_cycle_gradients_reach_the_reconstruction_alone(squeeze_weights):
    torch.manual_seed(0)
    loss = CycleConsistencyLoss(perceptual={'weights': squeeze_weights})
    rec, ref, mask = (torch.rand(1, c, 48, 48, requires_grad=True) for c in (3, 3, 1))
    outside = torch.zeros(1, 1, 48, 48)
    outside[..., :24] = 1
    terms = loss(rec, ref, mask * outside)
    check_terms(terms, 'pixel', 'percep')
    sum(terms.values()).backward()
    assert ref.grad is None
    assert mask.grad is None
    assert rec.grad[..., :24].abs().sum() > 0
    assert rec.grad[..., 24:].abs().sum() == 0


# ---------------------------------------------------------------- identity
def test_identity_is_the_formula(identity_weights):
    torch.manual_seed(0)
    out, gt, refs = (torch.rand(2, *shape, 3, 64, 64) * 2 - 1 for shape in ((), (), (2,)))
    loss = HardExampleIdentityLoss('mobilefacenet', identity_weights, loss_weight=2, lambda_ref=0.3)
    terms = loss(out, gt, refs)
    check_terms(terms, 'gt', 'ref')
    e = IdentityEncoder('mobilefacenet', identity_weights)
    with torch.no_grad():
        far_gt = 1 - (e(out) * e(gt)).sum(1)
        far_ref = 1 - (e(out)[:, None] * e(refs.flatten(0, 1)).view(2, 2, -1)).sum(2).mean(1)
    torch.testing.assert_close(terms['gt'], 2 * 0.7 * far_gt.mean())
    torch.testing.assert_close(terms['ref'], 2 * 0.3 * far_ref.mean())


def test_identity_invalid_references_have_no_influence(identity_weights):
    torch.manual_seed(0)
    out, gt, refs = (torch.rand(2, *shape, 3, 64, 64) for shape in ((), (), (2,)))
    valid = torch.tensor([[True, False], [False, False]])
    loss = HardExampleIdentityLoss('mobilefacenet', identity_weights)
    want = loss(out, gt, refs, valid)
    refs[~valid] = float('nan')
    got = loss(out, gt, refs, valid)
    assert torch.equal(got['gt'], want['gt'])
    assert torch.equal(got['ref'], want['ref'])
    # without any reference the ground truth takes the whole weight
    alone = loss(out, gt, refs, torch.zeros_like(valid))
    torch.testing.assert_close(alone['gt'], loss(out, gt)['gt'])
    assert alone['ref'] == 0


def test_identity_gradients_reach_the_output_alone(identity_weights):
    torch.manual_seed(0)
    out, gt, refs = (torch.rand(2, *shape, 3, 64, 64).requires_grad_() for shape in ((), (), (1,)))
    sum(HardExampleIdentityLoss('mobilefacenet', identity_weights, focus=1)(out, gt, refs).values()).backward()
    assert out.grad.abs().sum() > 0
    assert gt.grad is None
    assert refs.grad is None


def test_identity_focus_weighs_hard_samples(identity_weights):
    torch.manual_seed(0)
    gt = torch.rand(2, 3, 64, 64) * 2 - 1
    out = gt.clone()
    out[1] = torch.rand(3, 64, 64) * 2 - 1  # sample 0 is recognised, sample 1 is not
    plain, focused = (
        HardExampleIdentityLoss('mobilefacenet', identity_weights, focus=focus)(out, gt)['gt'] for focus in (0, 1)
    )
    torch.testing.assert_close(focused, 2 * plain, rtol=1e-3, atol=1e-6)


def test_identity_weights_of_samples(identity_weights):
    torch.manual_seed(0)
    out, gt = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 64, 64) * 2 - 1
    loss = HardExampleIdentityLoss('mobilefacenet', identity_weights)
    weighed = loss(out, gt, sample_weight=torch.tensor([2.0, 0.0]))['gt']
    torch.testing.assert_close(weighed, loss(out[:1], gt[:1])['gt'])


# ---------------------------------------------------------------- person
def test_person_classes_count_equally_however_rare():
    logits = torch.tensor([[0.0, 2.0, 2.0, 2.0, 9.0]])
    same, valid = torch.tensor([[False, True, True, True, True]]), torch.tensor([[True] * 4 + [False]])
    unit = torch.eye(2)[:1]
    terms = PersonLoss(loss_weight=2)(logits, same, valid, unit, unit)
    log = torch.nn.functional.softplus
    expected = log(torch.tensor(0.0)) + log(torch.tensor(-2.0))  # twice the mean of both sides
    torch.testing.assert_close(terms['same'], expected)
    assert terms['embedding'] == 0
    stricter = PersonLoss(loss_weight=2, stranger_weight=3)(logits, same, valid, unit, unit)
    torch.testing.assert_close(stricter['same'], expected + 2 * log(torch.tensor(0.0)))


# ---------------------------------------------------------------- wrong input
@pytest.mark.parametrize(
    ('loss', 'shapes', 'message'),
    [
        (SelectionLoss(), [(1, 1, 1, 4, 4), (1, 1, 1, 8, 8)], 'differ'),
        (CycleConsistencyLoss(), [(1, 3, 8, 8)] * 3, 'do not fit'),
    ],
)
def test_shapes_that_do_not_fit_are_named(loss, shapes, message):
    with pytest.raises(RefStarError, match=message):
        loss(*map(torch.zeros, shapes))


# ---------------------------------------------------------------- LPIPS
@pytest.mark.parametrize('size', [64, 128])
def test_lpips_loss_works_at_small_sizes(squeeze_weights, size):
    torch.manual_seed(0)
    loss = LPIPSLoss(squeeze_weights, loss_weight=0.5, size=96)
    x, y = torch.rand(1, 3, size, size, requires_grad=True), torch.rand(1, 3, size, size, requires_grad=True)
    terms = loss(x, y)
    check_terms(terms, 'squeeze')
    terms['squeeze'].backward()
    assert x.grad.abs().sum() > 0
    assert y.grad is None
    assert loss(y, y)['squeeze'] == 0
    torch.testing.assert_close(terms['squeeze'], 0.5 * loss.distance(x, y).mean())


def test_lpips_augments_both_images_alike(squeeze_weights):
    pred, target = torch.rand(2, 1, 3, 80, 80) * 2 - 1
    loss = LPIPSLoss(squeeze_weights, augment=True)
    assert loss(target, target)['squeeze'] == 0
    found = {round(loss.distance(pred, target).item(), 4) for _ in range(4)}
    assert len(found) > 1
    assert min(found) > 0


def test_lpips_wrong_weights_are_named(identity_weights, squeeze_weights):
    with pytest.raises(RefStarError, match='another network'):
        LPIPSLoss(identity_weights)
    with pytest.raises(RefStarError, match='nosuch'):
        LPIPSLoss(squeeze_weights, net='nosuch')
    with pytest.raises(RefStarError, match=r'LPIPS-squeeze.*no weights file is configured'):
        LPIPSLoss('')
