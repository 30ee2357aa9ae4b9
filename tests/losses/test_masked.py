"""Losses over a part of a batch: they equal losses of that part alone, and the host never waits for the device."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from helpers.waits import Waits

from refstar import (
    CorrespondenceLoss,
    CycleConsistencyLoss,
    HardExampleIdentityLoss,
    PersonLoss,
    SelectionLoss,
)
from refstar.identity_arch import PREPARE
from refstar.losses.correspondence_loss import nearest_keys, shrink_flow
from refstar.losses.masked import masked_mean, only
from refstar.models.auxiliary_losses import person_pairs
from refstar.person_check import Verdict


def inputs(kind: str, part: float, device: str = 'cpu') -> tuple[torch.Tensor, ...]:
    """Random arguments of a loss; about `part` of them is known."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    def some(*shape: int) -> torch.Tensor:
        return rand(*shape) < part

    found = {
        'selection': lambda: (rand(4, 2, 1, 8, 8), rand(4, 2, 1, 8, 8).round(), some(4, 2)),
        'correspondence': lambda: (
            rand(3, 2, 16, 16),
            rand(3, 2, 2, 8, 8),
            rand(3, 2, 2, 16, 16) * 2 - 1,
            some(3, 2, 1, 16, 16).float(),
        ),
        'cycle': lambda: (rand(4, 3, 48, 48), rand(4, 3, 48, 48), rand(4, 1, 48, 48) * some(4, 1, 1, 1)),
        'person': lambda: (rand(4, 6) - 0.5, some(4, 6), some(4, 6), *(F.normalize(rand(4, 8)) for _ in range(2))),
        'identity': lambda: (rand(2, 3, 64, 64), rand(2, 3, 64, 64), rand(2, 2, 3, 64, 64), some(2, 2)),
    }[kind]()
    found = tuple(x.to(device) for x in found)
    found[0].requires_grad_()
    return found


@pytest.fixture
def losses(squeeze_weights: str, identity_weights: str) -> dict[str, object]:
    """Each called with `inputs` of its name."""
    correspondence = CorrespondenceLoss()
    return {
        'selection': SelectionLoss(),
        'correspondence': lambda logits, pred, *truth: correspondence(logits, [pred, pred], *truth),
        'cycle': CycleConsistencyLoss(perceptual={'weights': squeeze_weights}),
        'person': PersonLoss(stranger_weight=2.0),
        'identity': HardExampleIdentityLoss('mobilefacenet', identity_weights),
    }


KINDS = ['selection', 'correspondence', 'cycle', 'person', 'identity']


@pytest.mark.parametrize('kind', KINDS)
def test_losses_do_not_wait(kind: str, losses: dict) -> None:
    """Tensors of the device `meta` have no values: `if mask.any()`, `x[mask]` and `.item()` raise."""
    loss = losses[kind].to('meta') if kind in ('cycle', 'identity') else losses[kind]
    arguments = inputs(kind, 0.5, 'meta')
    with Waits() as waits:
        sum(loss(*arguments).values()).backward()
    assert waits.count == 0
    assert arguments[0].grad.shape == arguments[0].shape
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(arguments[-1].any())


@pytest.mark.parametrize('prepare', PREPARE.values(), ids=PREPARE)
def test_identity_inputs_do_not_wait(prepare: Callable) -> None:
    with Waits() as waits:
        prepare(torch.rand(2, 3, 64, 64, device='meta'))
    assert waits.count == 0


def test_person_pairs_do_not_wait() -> None:
    person = SimpleNamespace(same_person_logits=lambda photos, refs: photos @ refs[0].T, encoder=lambda faces: faces)
    data = {
        'ref_valid': torch.ones(2, 2, dtype=torch.bool, device='meta'),
        'mask_known': torch.ones(2, 2, dtype=torch.bool, device='meta'),
        'ref_mask': torch.ones(2, 2, 1, 4, 4, device='meta'),
        'identity': ['a', 'b'],
        'gt': torch.ones(2, 3, 4, 4, device='meta'),
    }
    verdict = Verdict(None, torch.ones(2, 8, device='meta'), torch.ones(2, 2, 8, device='meta'))
    with Waits() as waits:
        _, same, *_ = person_pairs(SimpleNamespace(person=person), verdict, data)
    assert waits.count == 0 and same.shape == (2, 4)


def test_helper_sees_waits() -> None:
    there, mask = torch.ones(3, device='meta'), torch.ones(3, dtype=torch.bool)
    for wait in (lambda: there.new_tensor([1]), lambda: mask.to(there), lambda: mask[mask], lambda: bool(mask.any())):
        with Waits() as waits:
            wait()
        assert waits.count > 0


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('part', [0.5, 0.0])
def test_gradients_are_finite(kind: str, part: float, losses: dict) -> None:
    arguments = inputs(kind, part)
    terms = losses[kind](*arguments)
    sum(terms.values()).backward()
    assert all(value.isfinite() for value in terms.values())
    assert arguments[0].grad.isfinite().all()
    if part == 0 and kind != 'identity':  # which goes by the ground truth then
        parts = [value for name, value in terms.items() if name != 'embedding']
        assert sum(parts) == 0 and not arguments[0].grad.any()


def test_masked_mean() -> None:
    values = torch.tensor([1.0, float('nan'), 5.0], requires_grad=True)
    mean = masked_mean(values, torch.tensor([True, False, True]))
    mean.backward()
    assert mean == 3 and values.grad.tolist() == [0.5, 0, 0.5]
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool)) == 0
    assert only(torch.ones(2, 1, 2), torch.tensor([True, False])).tolist() == [[[1, 1]], [[0, 0]]]


def test_selection_equals_known_masks_alone(losses: dict) -> None:
    pred, target, known = inputs('selection', 0.5)
    assert 0 < known.sum() < known.numel()
    wanted = losses['selection'](pred[known][None], target[known][None])
    pred = torch.where(known[:, :, None, None, None], pred.detach(), float('nan'))
    for name, value in losses['selection'](pred, target, known).items():
        torch.testing.assert_close(value, wanted[name])


def test_cycle_equals_selected_samples_alone(losses: dict) -> None:
    rec, ref, mask = inputs('cycle', 0.5)
    used = mask.amax((1, 2, 3)) > 0
    assert 0 < used.sum() < len(used)
    found, wanted = losses['cycle'](rec, ref, mask), losses['cycle'](rec[used], ref[used], mask[used])
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value)
    rec = torch.where(used[:, None, None, None], rec.detach(), float('nan')).requires_grad_()
    terms = losses['cycle'](rec, ref, mask)
    assert all(torch.equal(terms[name], value) for name, value in found.items())
    sum(terms.values()).backward()
    assert rec.grad.isfinite().all()


def test_correspondence_equals_known_points_alone(losses: dict) -> None:
    logits, pred, flow, valid = inputs('correspondence', 0.6)
    found = losses['correspondence'](logits, pred, flow, valid)
    truth, known = shrink_flow(flow.flatten(0, 1), valid.flatten(0, 1), (4, 4))
    assert 0 < known.sum() < known.numel()
    index, weight = nearest_keys(truth.permute(0, 2, 3, 1)[known], (4, 4))
    log_p = logits.flatten(0, 1)[known.flatten(1)].log_softmax(1).gather(1, index)
    torch.testing.assert_close(found['match'], (torch.xlogy(weight, weight) - weight * log_p).sum(1).mean())
    truth, known = shrink_flow(flow.flatten(0, 1), valid.flatten(0, 1), (8, 8))
    gap = (pred.flatten(0, 1) - truth).permute(0, 2, 3, 1)[known] / 2
    torch.testing.assert_close(found['flow'], 10 * ((gap.square().sum(-1) + 1e-6).sqrt() - 1e-3).mean())
