"""Person check: references of another person are not selected."""

import pytest
import torch
from helpers.networks import BACKBONES, SIZE, images, run

from refstar import PersonLoss, RefSel, RefSTAR
from refstar.models.auxiliary_losses import person_pairs, reference_losses
from refstar.person_check import both


@pytest.fixture
def refsel(identity_weights) -> RefSel:
    torch.manual_seed(0)
    return RefSel(SIZE, 8, person={'network': 'mobilefacenet', 'weights': identity_weights})


def test_both_is_the_product_of_probabilities():
    a, b = torch.linspace(-9, 9, 7)[:, None], torch.linspace(-30, 30, 7)[None]
    torch.testing.assert_close(both(a, b).sigmoid(), a.sigmoid() * b.sigmoid())
    assert torch.isfinite(both(torch.tensor(-500.0), torch.tensor(500.0)))


def test_another_person_is_not_selected(refsel):
    lq, refs = images(1, seed=1), images(1, 2, seed=2)
    with torch.no_grad():
        plain = refsel(lq, refs)
        refsel.person.shift.fill_(-100)
        assert refsel(lq, refs).max() < 1e-6
        refsel.person.shift.fill_(100)
        assert (refsel(lq, refs) >= plain).all()


def test_strictness_asks_for_more_evidence(refsel):
    lq, refs = images(1, seed=1), images(1, 2, seed=2)
    before = refsel(lq, refs, return_aux=True)[1]['match'].person.logits
    refsel.person.strictness = 1.5
    torch.testing.assert_close(refsel(lq, refs, return_aux=True)[1]['match'].person.logits, before - 1.5)


@pytest.mark.parametrize('term', ['l_person_same', 'l_person_embedding'])
def test_student_learns_and_encoder_does_not(refsel, term):
    lq, refs, gt = images(2, seed=1), images(2, 2, seed=2), images(2, seed=3)
    mask = torch.zeros(2, 2, 1, SIZE, SIZE)
    mask[:, 0] = 1
    known = torch.ones(2, 2, dtype=torch.bool)
    data = {'gt': gt, 'identity': ['a', 'b'], 'ref_mask': mask, 'gt_mask': mask}
    data |= {'mask_known': known, 'ref_valid': known}
    criteria = torch.nn.ModuleDict({'person': PersonLoss()})
    refsel.train()
    torch.nn.init.normal_(refsel.person.student.bn.bias)  # no longer the encoder's copy
    assert not refsel.person.student.training
    optimizer = torch.optim.Adam([p for p in refsel.parameters() if p.requires_grad], 1e-3)
    frozen = [p.clone() for p in refsel.person.encoder.net.parameters()]
    losses = []
    for _ in range(12):
        terms = reference_losses(refsel, criteria, refsel(lq, refs, return_aux=True)[1], data)
        losses.append(terms[term].item())
        optimizer.zero_grad()
        terms[term].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(torch.equal(a, b) for a, b in zip(frozen, refsel.person.encoder.net.parameters(), strict=True))


def test_every_photo_meets_every_reference_of_the_batch(refsel):
    lq, refs, gt = images(3, seed=1), images(3, 2, seed=2), images(3, seed=3)
    mask = torch.ones(3, 2, 1, SIZE, SIZE)
    mask[0, 1] = 0  # another person
    valid = torch.tensor([[True, True], [True, False], [True, True]])
    data = {'gt': gt, 'identity': ['a', 'b', 'a'], 'ref_mask': mask, 'mask_known': valid, 'ref_valid': valid}
    verdict = refsel(lq, refs, return_aux=True)[1]['match'].person
    logits, same, counted, *_ = person_pairs(refsel, verdict, data)
    a = [True, False, False, False, True, True]
    assert same.tolist() == [a, [False, False, True, False, False, False], a]
    assert counted.tolist() == [valid.flatten().tolist()] * 3
    torch.testing.assert_close(logits.view(3, 3, 2)[range(3), range(3)], verdict.logits)


def test_in_refstar_and_its_bank(identity_weights):
    torch.manual_seed(0)
    person = {'network': 'mobilefacenet', 'weights': identity_weights}
    options = {'refsel': {'size': SIZE, 'channels': 8, 'person': person}, 'ref_channels': 8}
    net = RefSTAR(BACKBONES['RRDBNet'], SIZE, **options).eval()
    lq, refs, valid = images(1, seed=1), images(1, 3, seed=2), torch.tensor([[True, True, False]])
    out = run(net, lq, refs, valid)
    with torch.no_grad():
        bank = net.encode(refs, valid)
    torch.testing.assert_close(run(net, lq, bank=bank), out, atol=1e-6, rtol=0)
    torch.testing.assert_close(run(net, lq, refs, valid, chunk=1), out, atol=1e-5, rtol=0)
    refs[:, 2] = 100
    assert torch.equal(run(net, lq, refs, valid), out)
    with torch.no_grad():
        net.refsel.person.shift.fill_(-1e4)
    torch.testing.assert_close(run(net, lq, refs, valid), run(net, lq), atol=1e-5, rtol=0)
