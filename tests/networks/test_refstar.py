"""RefSTAR as one composition over backbones: the promises to its users, on networks with random weights."""

import doctest
from dataclasses import replace

import pytest
import torch
from helpers.networks import (
    BACKBONES,
    SIZE,
    SMALL_VQGAN,
    bare,
    image,
    images,
    make,
    narrow_codeformer,
    originals,
    photos,
    run,
)

from refstar import RefSTAR, RefStarError, refstar_arch

KINDS = [(name, context) for context in (False, True) for name in BACKBONES]


@pytest.fixture(params=KINDS, ids=lambda kind: kind[0] + '-context' * kind[1])
def net(request) -> RefSTAR:
    """Every backbone, without and with a composite context."""
    return make(*request.param)


@pytest.fixture(params=['RRDBNet', 'GFPGANv1Clean'])
def small(request) -> RefSTAR:
    """For what does not depend on the backbone."""
    return make(request.param, context=request.param == 'RRDBNet')


# ------------------------------------------------------------------ promise 1: nothing to use, nothing changes
def unused_references(b: int, n: int) -> dict[str, dict]:
    """Arguments by name that leave nothing of the references."""
    return {
        'no references': {'refs': None},
        'none valid': {'ref_valid': torch.zeros(b, n, dtype=torch.bool)},
        'strength 0': {'strength': 0.0},
        'strength 0 as a tensor': {'strength': torch.zeros(b)},
        'zero mask': {'mask': torch.zeros(b, n, 1, SIZE, SIZE)},
    }


def test_backbone_bit_for_bit(net):
    lq, refs = photos(net, 1, seed=1), images(1, 2, seed=2)
    plain = bare(net, lq)
    for case, options in unused_references(1, 2).items():
        assert torch.equal(run(net, lq, **{'refs': refs, **options}), plain), case
    assert (run(net, lq, refs) - plain).abs().mean() > 1e-3
    assert torch.equal(bare(net, lq), plain)  # as before after a pass


def test_strength_of_each_photo_of_a_batch(small):
    lq, refs = images(2, seed=1), images(2, 1, seed=2)
    out, plain, full = run(small, lq, refs, strength=torch.tensor([0.0, 1.0])), bare(small, lq), run(small, lq, refs)
    assert torch.equal(out[0], plain[0])
    torch.testing.assert_close(out[1], full[1])
    assert (full - plain).abs().mean() > 1e-3


@pytest.mark.parametrize('name', BACKBONES)
def test_original_state_dict_loads_unchanged(name):
    net = make(name)
    sizes = {'type', *SMALL_VQGAN} if name == 'CodeFormer' else {'type'}  # the original knows one size only
    with narrow_codeformer():
        original = originals()[name](**{k: v for k, v in BACKBONES[name].items() if k not in sizes}).eval()
    state = original.state_dict()
    assert {k.removeprefix('backbone.') for k in net.state_dict() if k.startswith('backbone.')} == set(state)
    net.backbone.load_state_dict(state, strict=True)
    lq = photos(net, 1, seed=1)
    torch.manual_seed(0)
    with torch.no_grad():
        plain = image(original(lq))
    assert torch.equal(run(net, lq, images(1, 1, seed=2), strength=0.0), plain)


# ------------------------------------------------------------------ promise 2: references are a set
def test_references_are_a_set(net):
    lq, refs = photos(net, 1, seed=1), images(1, 2, seed=2)
    out = run(net, lq, refs)
    torch.testing.assert_close(run(net, lq, refs.flip(1)), out, atol=5e-5, rtol=1e-5)
    padded = torch.cat([refs, images(1, 1, seed=7)], 1)
    valid = torch.tensor([[True, True, False]])
    with_padding = run(net, lq, padded, valid)
    torch.testing.assert_close(with_padding, out, atol=5e-5, rtol=1e-5)
    padded[:, 2] = 1e4
    assert torch.equal(run(net, lq, padded, valid), with_padding)


def test_padding_in_a_batch(small):
    lq, refs = images(2, seed=1), images(2, 3, seed=2)
    valid = torch.tensor([[True, True, False], [True, False, False]])
    out = run(small, lq, refs, valid)
    with torch.no_grad():
        aux = small(lq, refs, valid, return_aux=True)[1]
    assert not aux['weight'][~valid].any()
    assert not aux['mask'][~valid].any()
    torch.testing.assert_close(run(small, lq[:1], refs[:1, :2]), out[:1], atol=2e-5, rtol=0)
    torch.testing.assert_close(run(small, lq[1:], refs[1:, :1]), out[1:], atol=2e-5, rtol=0)


# ------------------------------------------------------------------ promise 3: nothing outside a given mask
def test_outside_of_a_given_mask_has_no_influence(net):
    lq, refs, others = photos(net, 1, seed=1), images(1, 2, seed=2), images(1, 2, seed=3)
    mask = torch.zeros(1, 2, 1, SIZE, SIZE)
    mask[..., 6:20, 9:25] = 0.7
    out = run(net, lq, refs, mask=mask)
    assert torch.equal(run(net, lq, torch.where(mask > 0, refs, others), mask=mask), out)
    assert (run(net, lq, torch.where(mask > 0, others, refs), mask=mask) - out).abs().max() > 1e-4


# ------------------------------------------------------------------ reference bank
def test_bank_gives_what_references_give(small):
    lq, refs = images(2, seed=1), images(1, 3, seed=2)
    valid = torch.tensor([[True, True, False]])
    out = run(small, lq, refs.expand(2, -1, -1, -1, -1), valid.expand(2, -1))
    with torch.no_grad():
        bank = small.encode(refs, valid)
    torch.testing.assert_close(run(small, lq, bank=bank), out, atol=1e-6, rtol=0)


def test_bank_of_another_network_is_refused(small):
    lq, bank, state = images(1), small.encode(images(1, 1)), small.state_dict()
    run(small, lq, bank=bank)
    name = next(key for key in state if key.startswith('ref_encoder.'))
    small.load_state_dict({**state, name: state[name] + 0.01})
    with pytest.raises(RefStarError, match='another network'):
        small(lq, bank=bank)
    run(small, lq, bank=replace(bank, network=''))  # without a fingerprint nothing is checked
    small.train()
    bank = small.encode(images(1, 1))
    with torch.no_grad():
        next(small.ref_encoder.parameters()).add_(0.01)  # a step of a training
    with pytest.raises(RefStarError, match='another network'):
        small(lq, bank=bank)


# ------------------------------------------------------------------ several references
@pytest.mark.parametrize('n', [1, 3])
def test_chunks_change_nothing(small, n):
    lq, refs = images(2, seed=1), images(2, n, seed=2)
    valid = torch.tensor([[True] * n, [True] + [False] * (n - 1)])
    torch.testing.assert_close(run(small, lq, refs, valid, chunk=1), run(small, lq, refs, valid), atol=1e-5, rtol=0)


@pytest.mark.parametrize('chunk', [1, 2])
def test_no_more_than_a_chunk_is_encoded_at_a_time(small, chunk):
    encoders = [small.ref_encoder, small.refsel.ref_encoder, *([] if small.context is None else [small.context.low])]
    seen = {encoder: [] for encoder in encoders}
    for encoder in encoders:
        encoder.register_forward_pre_hook(lambda module, inputs: seen[module].append(len(inputs[0])))
    run(small, images(2, seed=1), images(2, 3, seed=2), chunk=chunk)
    assert all(counts == {1: [2, 2, 2], 2: [4, 2]}[chunk] for counts in seen.values()), seen


def test_guidance_needs_one_pass_more_than_references(small):
    lq, refs, passes = images(1, seed=1), images(1, 3, seed=2), []
    small.backbone.register_forward_hook(lambda *_: passes.append(1))
    run(small, lq, refs, combine='guidance')
    after = torch.get_rng_state()
    assert len(passes) == 4
    bare(small, lq)
    assert torch.equal(torch.get_rng_state(), after)  # as after one plain pass


def test_guidance_is_the_mean_change(small):
    lq, refs, valid = images(1, seed=1), images(1, 3, seed=2), torch.tensor([[True, True, False]])
    plain = bare(small, lq)
    change = [run(small, lq, refs[:, i : i + 1]) - plain for i in range(2)]
    wanted = plain + 0.7 * (change[0] + change[1]) / 2
    how = {'combine': 'guidance', 'guidance_scale': 0.7}
    torch.testing.assert_close(run(small, lq, refs, valid, **how), wanted, atol=1e-5, rtol=0)
    with torch.no_grad():
        bank = small.encode(refs, valid)
    torch.testing.assert_close(run(small, lq, bank=bank, **how), wanted, atol=1e-5, rtol=0)
    for case, options in unused_references(1, 3).items():
        torch.testing.assert_close(run(small, lq, **{'refs': refs, **options}, **how), plain, atol=0, rtol=0, msg=case)
    with torch.no_grad():
        aux = small(lq, refs, valid, return_aux=True, combine='guidance')[1]
    assert aux['mask'].shape == (1, 3, 1, SIZE, SIZE)


# ------------------------------------------------------------------ other ranges of values
def test_value_range():
    """The backbone is fed as it is used to; selection and transfer see the same photo in either range."""
    net = make('RRDBNet')
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    with torch.no_grad():
        wanted = net(lq, refs, return_aux=True)[1]['mask']
        net.value_range = (0, 1)
        lq, refs = (lq + 1) / 2, (refs + 1) / 2
        torch.testing.assert_close(net(lq, refs, return_aux=True)[1]['mask'], wanted, atol=1e-5, rtol=0)
        assert torch.equal(net(lq, refs, strength=0.0), net.backbone(lq))


# ------------------------------------------------------------------ training
def test_gradients_reach_every_new_module(net):
    net.train()
    net.backbone.requires_grad_(False)
    lq, refs, gt = photos(net, 1, seed=1), images(1, 2, seed=2), images(1, seed=3)
    out, aux = net(lq, refs, return_aux=True)
    loss = (image(out) - gt).abs().mean() + aux['mask'].mean() + aux['carried'].mean()
    if net.backbone.__class__.__name__ == 'CodeFormer':  # codes are chosen, not mixed: the context learns by the logits
        loss = loss + out[1].square().mean()
    loss.backward()
    new = {name: p for name, p in net.named_parameters() if not name.startswith('backbone.')}
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in new.values())
    parts = [*net.refsel.children(), *net.transfer]
    parts += [net.ref_encoder] if list(net.ref_encoder.parameters()) else []
    parts += [] if net.context is None else [net.context, *net.inject]
    for part in parts:
        assert any(p.grad.abs().max() > 0 for p in part.parameters()), type(part).__name__


def test_restoration_cannot_close_the_gate(small):
    out, aux = small(images(1, seed=1), images(1, 1, seed=2), return_aux=True)
    aux['alpha'].retain_grad()
    image(out).sum().backward()
    assert aux['alpha'].grad is None
    head = [p.grad for p in small.refsel.head.parameters()]
    assert all(g is None or not g.any() for g in head)


# ------------------------------------------------------------------ wrong input
def test_bank_and_references_together_are_refused(small):
    with pytest.raises(RefStarError, match='not both'):
        small(images(1), images(1, 1), bank=small.encode(images(1, 1)))


def test_a_backbone_for_another_size_is_named():
    with pytest.raises(RefStarError, match='CodeFormer does not take photos of 64x64 pixels'):
        RefSTAR(BACKBONES['CodeFormer'], 64)
    with pytest.raises(RefStarError, match='dim must be a multiple of 4'):
        RefSTAR(BACKBONES['RRDBNet'], SIZE, context={'dim': 10})


def test_taps_are_checked():
    with pytest.raises(RefStarError, match="no module 'conv_boddy'"):
        RefSTAR(BACKBONES['RRDBNet'], SIZE, taps=['conv_boddy'])
    with pytest.raises(RefStarError, match='not a square feature map'):
        RefSTAR(BACKBONES['GFPGANv1Clean'], SIZE, taps=['final_linear'])
    with pytest.raises(RefStarError, match='no default taps'):
        RefSTAR({'type': 'SRVGGNetCompact'}, SIZE)


def test_taps_of_any_other_arch():
    torch.manual_seed(0)
    block = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 1}
    net = RefSTAR(block, SIZE, taps=['body.2'], refsel={'size': SIZE, 'channels': 8}, ref_channels=8).eval()
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    assert torch.equal(run(net, lq), bare(net, lq))
    assert (run(net, lq, refs) - bare(net, lq)).abs().max() > 1e-3


def test_example_in_the_docstring_runs():
    failed, tried = doctest.testmod(refstar_arch)
    assert tried > 0 and failed == 0
